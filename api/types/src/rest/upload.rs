//! Uploads of image files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Digest, Timestamp};

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
