//! Rules by which snapshots are taken.

use async_trait::async_trait;
use jiff::Timestamp;
use tepui_types::{FreezeId, NodeId, ProjectId, SnapshotId, SnapshotScheduleId, VolumeId};

use crate::DbError;
use crate::model::{Snapshot, SnapshotSchedule};

/// Rules by which snapshots are taken.
#[async_trait]
pub trait ScheduleDb: Send + Sync {
    /// Creates a schedule; `false` where the project has `max` of them.
    async fn create_schedule(&self, schedule: &SnapshotSchedule, max: usize) -> Result<bool, DbError>;

    /// A project's schedules, by id.
    async fn schedules(&self, project: ProjectId) -> Result<Vec<SnapshotSchedule>, DbError>;

    /// How many schedules there are whose guests did not all hold still the last time.
    async fn unfrozen_schedules(&self) -> Result<u64, DbError>;

    /// Deletes a schedule; the snapshots that it made stay, and are nobody's to delete but their owner's. `false` where
    /// the project has no such schedule.
    async fn delete_schedule(&self, project: ProjectId, id: SnapshotScheduleId) -> Result<bool, DbError>;

    /// The schedules whose time has come, by id, with the volumes that have their tag.
    async fn due_schedules(&self, now: Timestamp) -> Result<Vec<(SnapshotSchedule, Vec<VolumeId>)>, DbError>;

    /// Takes the snapshots of one time of a schedule, `due`, and sets the `next` one. A volume that is not available or
    /// in use is left out. Pool and size of each are those of its volume, whatever the rows say. The nodes that take
    /// them; `None`, with nothing changed, where the schedule is gone or that time was served before.
    ///
    /// With `freezes`, one for each snapshot, those of volumes that running guests write wait until these hold still,
    /// each guest once. Where one does not, or cannot, they are taken without, which their descriptions and the
    /// schedule say.
    async fn run_schedule(
        &self,
        schedule: &SnapshotSchedule,
        next: Timestamp,
        snapshots: &[Snapshot],
        freezes: &[FreezeId],
    ) -> Result<Option<Vec<NodeId>>, DbError>;

    /// The snapshots that schedules made and do not keep any more: for each volume the completed ones beyond its
    /// newest, and the failed ones with a completed one behind them. None of a schedule that is deleted.
    async fn outlived_snapshots(&self) -> Result<Vec<(ProjectId, SnapshotId)>, DbError>;
}
