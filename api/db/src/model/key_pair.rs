//! SSH key pairs. The store never sees a private key.

use jiff::Timestamp;
use tepui_types::{KeyPairId, ProjectId};

/// The key's algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// Ed25519.
    Ed25519,
    /// RSA, 2048 bits or more.
    Rsa,
}

/// A public key under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// The id.
    pub id: KeyPairId,
    /// The owner.
    pub project_id: ProjectId,
    /// Unique in the project.
    pub name: String,
    /// The algorithm.
    pub kind: KeyKind,
    /// As `DescribeKeyPairs` shows it; its form depends on algorithm and origin, as on AWS.
    pub fingerprint: String,
    /// One line in OpenSSH's form.
    pub public_key: String,
    /// When it was created or imported.
    pub created_at: Timestamp,
}
