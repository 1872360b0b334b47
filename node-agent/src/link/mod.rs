//! The way to the control plane: one client with the node's certificate, and the loops that use it.

mod client;
mod pauses;
mod tls;

pub use client::{ControlPlane, LinkError, enrol};
pub use pauses::Pauses;
pub use tls::{PinnedCa, client_config};
