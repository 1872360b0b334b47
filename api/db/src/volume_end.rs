//! Volumes that are deleted by themselves.

use async_trait::async_trait;
use jiff::Timestamp;
use tepui_types::{ProjectId, VolumeId};

use crate::model::{EndingVolume, VolumeEnd};
use crate::{DbError, VolumeOutcome};

/// Ends of volumes.
#[async_trait]
pub trait VolumeEndDb: Send + Sync {
    /// Gives a volume an end, or takes it away. A new end begins without a warning.
    async fn set_volume_end(
        &self,
        project: ProjectId,
        id: VolumeId,
        end: Option<VolumeEnd>,
    ) -> Result<VolumeOutcome, DbError>;

    /// The volumes whose owners are to be warned at `now`, or have been, by id; none that is being deleted.
    async fn ending_volumes(&self, now: Timestamp) -> Result<Vec<EndingVolume>, DbError>;

    /// Notes how long the owners of these volumes have been warned, of each whose end is still as it is given here.
    async fn note_warnings(&self, warned: &[(EndingVolume, Option<u32>)]) -> Result<(), DbError>;

    /// Deletes a volume as its owner would, if its end is still as it is given here: `Unchanged` otherwise.
    async fn end_volume(&self, ending: &EndingVolume) -> Result<VolumeOutcome, DbError>;
}
