//! Snapshots that are taken again and again, and the job that takes and removes them.

use jiff::{SignedDuration, Timestamp};
use tepui_db::DeleteOutcome;
use tepui_db::model::{ScheduledTests, Snapshot, SnapshotSchedule, SnapshotState};
use tepui_types::agent::FreezeKind;
use tepui_types::{FreezeId, PoolId, SnapshotId, SnapshotScheduleId, VolumeId};

use crate::failpoint::pass;
use crate::{Caller, Cloud, Error, Kind, check_tags, limits};

/// What is written for people into each snapshot of a schedule.
const DESCRIPTION: &str = "taken by a schedule";

/// A schedule to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateSnapshotSchedule {
    /// The key of the volumes' tag.
    pub tag_key: String,
    /// Its value.
    pub tag_value: String,
    /// From one time to the next, in seconds.
    pub every_seconds: u32,
    /// So many completed snapshots of each volume are kept.
    pub keep: u32,
    /// From one test of the newest completed snapshot of each volume to the next, in seconds; `None` for no tests.
    pub test_every_seconds: Option<u32>,
    /// Guests hold still for its snapshots where they can.
    pub freeze: bool,
}

impl Cloud {
    /// Creates a schedule, whose first time is now.
    ///
    /// # Errors
    /// `InvalidInput`, `LimitExceeded`.
    pub async fn create_snapshot_schedule(
        &self,
        caller: &Caller,
        request: CreateSnapshotSchedule,
    ) -> Result<SnapshotSchedule, Error> {
        let CreateSnapshotSchedule { tag_key, tag_value, every_seconds, keep, test_every_seconds, freeze } =
            request;
        check_tags(&[(tag_key.clone(), tag_value.clone())].into())?;
        limits::check_between("every_seconds", every_seconds, limits::SCHEDULE_SECONDS)?;
        limits::check_between("keep", keep, limits::SCHEDULE_KEEPS)?;
        let id = SnapshotScheduleId::from_random(self.random());
        let (project_id, now) = (caller.project, self.now());
        let tests = test_every_seconds.map(|every| tests(every, every_seconds, now)).transpose()?;
        let schedule = SnapshotSchedule {
            id,
            project_id,
            tag_key,
            tag_value,
            every_seconds,
            keep,
            next_at: now,
            created_at: now,
            tests,
            freeze,
            freeze_failure: None,
        };
        self.commit(caller, "CreateSnapshotSchedule", id.to_string(), async {
            match self.db.create_schedule(&schedule, limits::SCHEDULES).await? {
                true => Ok(()),
                false => {
                    Err(Error::LimitExceeded { what: "schedules of a project", limit: limits::SCHEDULES })
                }
            }
        })
        .await?;
        self.reconcile.notify_one();
        Ok(schedule)
    }

    /// The caller's schedules, by id.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn snapshot_schedules(&self, caller: &Caller) -> Result<Vec<SnapshotSchedule>, Error> {
        Ok(self.db.schedules(caller.project).await?)
    }

    /// Deletes a schedule. The snapshots that it made stay.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_snapshot_schedule(
        &self,
        caller: &Caller,
        id: SnapshotScheduleId,
    ) -> Result<(), Error> {
        self.commit(caller, "DeleteSnapshotSchedule", id.to_string(), async {
            match self.db.delete_schedule(caller.project, id).await? {
                true => Ok(()),
                false => Err(Error::not_found(Kind::SnapshotSchedule, id)),
            }
        })
        .await
    }

    /// Takes the snapshots that are due, those of each schedule at once, deletes those that no schedule keeps any
    /// more, and orders the tests that are due; how many of all. Each is one transaction, so that whatever was cut off goes on with the next call.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn run_schedules(&self) -> Result<u32, Error> {
        // A clock that was set ahead takes nothing early.
        let now = self.clock.earliest();
        Ok(self.take_due(now).await? + self.delete_outlived().await? + self.order_due_tests(now).await?)
    }

    async fn take_due(&self, now: Timestamp) -> Result<u32, Error> {
        let mut count = 0;
        for (schedule, volumes) in self.db.due_schedules(now).await? {
            let snapshots: Vec<Snapshot> =
                volumes.into_iter().map(|volume| self.scheduled(&schedule, volume, now)).collect();
            let next = next_time(schedule.next_at, schedule.every_seconds, now)?;
            let freezes: Vec<FreezeId> = match schedule.freeze {
                true => snapshots.iter().map(|_| FreezeId::from_random(self.random())).collect(),
                false => Vec::new(),
            };
            if let Some(nodes) = self.db.run_schedule(&schedule, next, &snapshots, &freezes).await? {
                count += 1;
                let passed = pass("core::schedule::taken")?;
                self.wakes.wake(passed, nodes);
            }
        }
        Ok(count)
    }

    async fn delete_outlived(&self) -> Result<u32, Error> {
        let mut count = 0;
        for (project, id) in self.db.outlived_snapshots().await? {
            match self.db.delete_snapshot(project, id).await? {
                (DeleteOutcome::Deleted, node) => {
                    count += 1;
                    let passed = pass("core::schedule::deleted")?;
                    self.wakes.wake(passed, node);
                }
                // A volume is being made from it: the next round deletes it.
                (DeleteOutcome::InUse(_) | DeleteOutcome::NotFound, _) => {}
            }
        }
        Ok(count)
    }

    fn scheduled(&self, schedule: &SnapshotSchedule, volume_id: VolumeId, now: Timestamp) -> Snapshot {
        Snapshot {
            id: SnapshotId::from_random(self.random()),
            project_id: schedule.project_id,
            pool_id: PoolId::from_random(0),
            volume_id,
            copy_of: None,
            image: None,
            root_of: None,
            size_gib: 0,
            description: DESCRIPTION.into(),
            state: SnapshotState::Pending,
            freeze: None,
            freeze_kind: FreezeKind::default(),
            message: None,
            created_at: now,
        }
    }
}

/// The tests of a schedule to be. When the first ones are due there is something to test.
fn tests(every_seconds: u32, snapshots_every: u32, now: Timestamp) -> Result<ScheduledTests, Error> {
    let range = snapshots_every..=*limits::SCHEDULE_SECONDS.end();
    limits::check_between("test_every_seconds", every_seconds, range)?;
    let first = now.checked_add(SignedDuration::from_secs(every_seconds.into()));
    Ok(ScheduledTests { every_seconds, next_at: first.map_err(Error::internal)? })
}

/// The first of a schedule's times that is still to come. Times that were missed are made up once, by the one that is
/// served now.
pub(super) fn next_time(due: Timestamp, every_seconds: u32, now: Timestamp) -> Result<Timestamp, Error> {
    let every = i64::from(every_seconds);
    let late = now.duration_since(due).as_secs();
    let ahead = SignedDuration::from_secs((late / every + 1) * every);
    due.checked_add(ahead).map_err(Error::internal)
}
