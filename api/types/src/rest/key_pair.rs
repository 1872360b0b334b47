//! SSH key pairs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{KeyPairId, Timestamp};

/// The key's algorithm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// Ed25519.
    #[default]
    Ed25519,
    /// RSA, 2048 bits or more.
    Rsa,
}

/// Makes a key pair, or imports the public key that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKeyPairRequest {
    /// Unique in the project, 1 to 255 characters.
    pub name: String,
    /// Algorithm of a new key; must be absent with `public_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<KeyKind>,
    /// One line in OpenSSH's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

/// A public key under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyPair {
    /// The id.
    pub id: KeyPairId,
    /// Unique in the project.
    pub name: String,
    /// The algorithm.
    pub kind: KeyKind,
    /// As `DescribeKeyPairs` shows it.
    pub fingerprint: String,
    /// One line in OpenSSH's form.
    pub public_key: String,
    /// When it was created or imported.
    pub created_at: Timestamp,
}

/// A new key pair.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreatedKeyPair {
    /// The public half.
    pub key_pair: KeyPair,
    /// The private half, PEM; shown this once and kept nowhere. `None` for an imported key.
    pub private_key: Option<String>,
}
