//! The host agent: poll, ledger, reconcilers, metadata service, simulated hypervisor.

fn main() {}
