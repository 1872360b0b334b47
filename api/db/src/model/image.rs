//! Images and their imports.

use jiff::Timestamp;
use tepui_types::{Digest, ImageId, ImportTaskId, ProjectId};

use super::ImportState;

/// Whether an image can be launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageState {
    /// Its bytes are in the store.
    Available,
    /// Withdrawn: no new launches, running instances are untouched.
    Deregistered,
}

/// A bootable image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The id.
    pub id: ImageId,
    /// The owner.
    pub project_id: ProjectId,
    /// Unique in the project among available images.
    pub name: String,
    /// For people.
    pub description: String,
    /// Content.
    pub digest: Digest,
    /// Virtual size in bytes.
    pub size_bytes: u64,
    /// The user to log in as, for `tepui instance ssh`.
    pub login_user: String,
    /// Every project may launch it.
    pub public: bool,
    /// Whether it can be launched.
    pub state: ImageState,
    /// When it was imported.
    pub created_at: Timestamp,
}

/// One import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportTask {
    /// The id.
    pub id: ImportTaskId,
    /// The owner.
    pub project_id: ProjectId,
    /// The image's name once it is there.
    pub name: String,
    /// For people.
    pub description: String,
    /// The file's name or the URL without credentials.
    pub source: String,
    /// How far.
    pub state: ImportState,
    /// The step in work or the reason of the failure.
    pub message: String,
    /// Percent of the source read.
    pub progress: u8,
    /// The image, once completed.
    pub image_id: Option<ImageId>,
    /// When it was asked for.
    pub created_at: Timestamp,
}
