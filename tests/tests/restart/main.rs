//! A death in the middle of an operation: the control plane, the agent, or the reply on its way. Every
//! fail point that the code lists is died at, in every operation that passes it; the work is finished
//! after a restart, once.

mod agent;
mod api;
mod disks;
mod hosts;
mod libvirt;
mod operations;
mod replies;
mod scene;
mod tokens;
mod verb;
mod volumes;
