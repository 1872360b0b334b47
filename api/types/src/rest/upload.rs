//! Uploads of image files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Digest, Timestamp};

/// What an uploaded file is to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UploadContent {
    /// A disk that boots: a qcow2 file, or a raw one with a boot sector.
    #[default]
    Bootable,
    /// A disk with anything on it: a qcow2 file, or a raw one. What is known as another format is refused.
    Data,
    /// A disk's bytes as they are, whatever they look like.
    Raw,
}

impl UploadContent {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// Imports the request's body. `Content-Length` is required.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadImageRequest {
    /// Name of the image, unique in the project.
    pub name: String,
    /// The file's name, for people.
    #[serde(default)]
    pub source: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// The user to log in as; `root` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_user: Option<String>,
    /// Every project may launch it; for administrators only.
    #[serde(default)]
    pub public: bool,
    /// What the file is to be.
    #[serde(default, skip_serializing_if = "UploadContent::is_usual")]
    pub content: UploadContent,
}

/// Begins an upload that can be resumed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateImageUploadRequest {
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// What becomes of it.
    pub image: UploadImageRequest,
}

/// An upload. It is forgotten a day after its last byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageUpload {
    /// Names it.
    pub id: String,
    /// Size of the file in bytes, as announced.
    pub size_bytes: u64,
    /// Bytes that are durable: the offset to go on from.
    pub received_bytes: u64,
    /// When it is forgotten if nothing more comes.
    pub expires_at: Timestamp,
}

/// Appends the request's body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppendImageUploadRequest {
    /// Where the body begins in the file; must be the number of bytes received so far.
    pub offset: u64,
}

/// Ends an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteImageUploadRequest {
    /// SHA-256 of the file as it lies on the client's disk.
    pub sha256: Digest,
}
