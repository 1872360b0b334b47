//! The control plane: routers, TLS, configuration, wiring.

fn main() {}
