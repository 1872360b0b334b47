//! The control plane: routers, TLS, configuration, wiring.
