//! libvirt for the agent: typed domain XML, a bounded pool of connections with deadlines.
