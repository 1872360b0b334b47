//! The cloud's own certificates: an authority, the agents' listener, the nodes, the identity
//! document. ECDSA P-256, but Ed25519 for documents, whose signatures must not differ.

mod authority;
mod error;
mod identity;
mod listener;
mod node;

pub use authority::Authority;
pub use error::PkiError;
pub use identity::IdentityKey;
pub(crate) use listener::agents_tls;
pub(crate) use node::{NodeCertificate, PeerNode, check_request};
