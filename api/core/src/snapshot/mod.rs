//! Snapshots.

mod content;
mod copy;
pub(crate) mod freeze;
mod of_image;
pub(crate) mod restore_test;
mod root;
mod schedule;
mod sharing;

use tepui_db::DeleteOutcome;
use tepui_db::model::{Snapshot, SnapshotFreeze, SnapshotRecord, SnapshotState, VolumeState};
use tepui_types::agent::FreezeKind;
use tepui_types::{InstanceId, PoolId, SnapshotId, VolumeId};

use crate::failpoint::pass;
use crate::identity::deleted;
use crate::{Caller, Cloud, Error, Kind, Tags, check_tags, limits};

pub use copy::{CopySnapshot, CopyTo};
pub use of_image::{SnapshotOfImage, SnapshotPlace};
pub use schedule::CreateSnapshotSchedule;

/// Nothing is made of a snapshot before all of it is there, or once it is on its way out.
pub(crate) fn not_completed(id: SnapshotId, state: SnapshotState) -> Error {
    Error::WrongState { id: id.to_string(), state: state.name().into(), wanted: "completed" }
}

/// All that project members are told of why a snapshot could not be taken: the rest is its host's, and for
/// administrators.
const SNAPSHOT_FAILED: &str = "the snapshot could not be taken";

/// What they are told where it was to be taken while its guest held still, which is theirs to mend.
const FREEZE_FAILED: &str = "the guest's file systems could not be held still while the snapshot was taken: see that \
    qemu-guest-agent runs in the guest; a snapshot without --freeze needs none, and is crash-consistent";

/// What they are told where its guest was to be paused meanwhile, so that several are of one moment.
const PAUSE_FAILED: &str = "the instance could not be kept paused until the snapshots of all its volumes were taken, so that \
    they are not of one moment: take them again, or of each volume by itself";

/// All that they are told of why a guest did not hold still for the snapshots of a schedule.
pub const NOT_HELD: &str = "a guest's file systems did not hold still, and its snapshots are crash-consistent: see that \
    qemu-guest-agent runs in it";

/// All that they are told of why a test failed.
pub const TEST_FAILED: &str = "the snapshot could not be restored as it was: take a new one";

/// Why a snapshot could not be taken, for project members.
pub fn snapshot_failure(snapshot: &Snapshot) -> &'static str {
    match snapshot.freeze {
        // A copy asks no guest, and one that held still is not to blame for what came after.
        Some(SnapshotFreeze::Waiting | SnapshotFreeze::Taking | SnapshotFreeze::Taken)
            if snapshot.copy_of.is_none() =>
        {
            match snapshot.freeze_kind {
                FreezeKind::FileSystems => FREEZE_FAILED,
                FreezeKind::Vcpus => PAUSE_FAILED,
            }
        }
        Some(_) | None => SNAPSHOT_FAILED,
    }
}

/// Snapshots to be taken: of volumes, each of a moment of its own, or of an instance's, which are all of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateSnapshots {
    /// What of; each once.
    pub volumes: Vec<VolumeId>,
    /// They are this instance's, asked for in one: another action than that of one volume. Where it runs and writes several
    /// of them, it is paused until those are taken.
    pub instance: Option<InstanceId>,
    /// Their guest's file systems hold still meanwhile; without its help they fail.
    pub freeze: bool,
    /// For people.
    pub description: String,
    /// Tags of each.
    pub tags: Tags,
}

impl Cloud {
    /// Takes a snapshot of each volume, in the order of the request. It is taken later than the call and before
    /// it is shown as completed. That of a root disk that is local to its host goes to the emptiest pool of the usual class.
    ///
    /// # Errors
    /// `InvalidInput`, `NotFound`, `WrongState` for a volume that is not available or in use, and for one whose host does not answer where its instance would be
    /// paused, `PoolsFull`, `HoldsStill`. With a freeze also
    /// `InvalidInput` for volumes that are not all of one running instance, and `WrongState` while that holds still for
    /// other snapshots.
    pub async fn create_snapshots(
        &self,
        caller: &Caller,
        request: &CreateSnapshots,
    ) -> Result<Vec<SnapshotRecord>, Error> {
        check_tags(&request.tags)?;
        limits::check_description(&request.description)?;
        let snapshots: Vec<Snapshot> =
            request.volumes.iter().map(|volume| self.new_snapshot(caller, *volume, request)).collect();
        let ids: Vec<SnapshotId> = snapshots.iter().map(|snapshot| snapshot.id).collect();
        let pairs = limits::tag_pairs(&request.tags);
        let of = |id: &SnapshotId| {
            pairs.clone().into_iter().map(|(key, value)| (*id, key, value)).collect::<Vec<_>>()
        };
        let tags: Vec<_> = ids.iter().flat_map(of).collect();
        let names = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let action = if request.instance.is_some() { "CreateSnapshots" } else { "CreateSnapshot" };
        let nodes = self
            .commit(caller, action, names, async {
                match request.freeze {
                    true => self.write_frozen(&snapshots, &tags).await,
                    false => {
                        self.check_hosts(caller, request).await?;
                        self.write_snapshots(request.instance, &snapshots, &tags).await
                    }
                }
            })
            .await?;
        let passed = pass("core::snapshot::committed")?;
        self.wakes.wake(passed, nodes);
        pass("core::snapshot::woken")?;
        let mut records = self.snapshots(caller, &ids).await?;
        records.sort_by_key(|record| ids.iter().position(|id| *id == record.snapshot.id));
        Ok(records)
    }

    /// Pool and size are the store's to fill in: those of the volume at the write. No local root disk has a pool.
    fn new_snapshot(&self, caller: &Caller, volume_id: VolumeId, request: &CreateSnapshots) -> Snapshot {
        Snapshot {
            id: SnapshotId::from_random(self.random()),
            project_id: caller.project,
            pool_id: PoolId::from_random(0),
            volume_id,
            copy_of: None,
            image: None,
            root_of: None,
            size_gib: 0,
            description: request.description.clone(),
            state: SnapshotState::Pending,
            freeze: None,
            freeze_kind: FreezeKind::default(),
            message: None,
            created_at: self.now(),
        }
    }

    /// The caller's snapshots, by id: these, or all when `ids` is empty.
    ///
    /// # Errors
    /// `NotFound` for the first id that is unknown or foreign.
    pub async fn snapshots(&self, caller: &Caller, ids: &[SnapshotId]) -> Result<Vec<SnapshotRecord>, Error> {
        sharing::select(self.db.snapshots(caller.project).await?, ids)
    }

    pub(crate) async fn snapshot(&self, caller: &Caller, id: SnapshotId) -> Result<Snapshot, Error> {
        let found = self.snapshots(caller, &[id]).await?.pop().map(|record| record.snapshot);
        found.ok_or_else(|| Error::not_found(Kind::Snapshot, id))
    }

    /// Deletes a snapshot. Volumes that were made from it keep their bytes.
    ///
    /// # Errors
    /// `NotFound`, `InUse` while the caller's project makes a volume or a copy from it. What others make from it fails, where
    /// it is not there yet.
    pub async fn delete_snapshot(&self, caller: &Caller, id: SnapshotId) -> Result<(), Error> {
        self.snapshot(caller, id).await?;
        let node = self
            .commit(caller, "DeleteSnapshot", id.to_string(), async {
                let (outcome, node): (DeleteOutcome, _) = self.db.delete_snapshot(caller.project, id).await?;
                deleted(outcome, Kind::Snapshot, id).map(|()| node)
            })
            .await?;
        let passed = pass("core::snapshot::committed")?;
        self.wakes.wake(passed, node);
        pass("core::snapshot::woken")?;
        Ok(())
    }
}

fn wrong_volume(id: VolumeId, state: VolumeState) -> Error {
    Error::WrongState { id: id.to_string(), state: state.name().into(), wanted: "available or in-use" }
}
