//! Images and their imports.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Digest, ImageId, ImportTaskId, ProjectId, Timestamp};

/// A bootable image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Image {
    /// The id.
    pub id: ImageId,
    /// The owner.
    pub project_id: ProjectId,
    /// Unique among the project's images.
    pub name: String,
    /// For people.
    pub description: String,
    /// SHA-256 of the guest-visible bytes.
    pub digest: Digest,
    /// Virtual size in bytes.
    pub size_bytes: u64,
    /// The user to log in as.
    pub login_user: String,
    /// Every project may launch it.
    pub public: bool,
    /// When it was imported.
    pub created_at: Timestamp,
}

/// Imports an image from a URL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportImageRequest {
    /// Name of the image, unique in the project.
    pub name: String,
    /// `http` or `https`; a qcow2 or raw file.
    pub url: String,
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

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportState {
    /// Bytes come in, are inspected, converted.
    Active,
    /// The image is available.
    Completed,
    /// Refused or failed; `message` says why.
    Failed,
}

/// One import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportTask {
    /// The id.
    pub id: ImportTaskId,
    /// The image's name once it is there.
    pub name: String,
    /// The file's name or the URL without credentials.
    pub source: String,
    /// How far.
    pub state: ImportState,
    /// The step in work or the reason of the failure.
    pub message: String,
    /// Percent done, 0 to 100.
    pub progress: u8,
    /// The image, once completed.
    pub image_id: Option<ImageId>,
    /// When it was asked for.
    pub created_at: Timestamp,
}
