//! Growing a volume, and changing its limits and who may have it.
//!
//! ```text
//!   asked ──▶ modifying ──its host has the size──▶ optimizing ──its guest sees it──▶ completed
//!                 └──its host is given up──▶ failed ◀───┘
//! ```
//! The names are EC2's (API reference, "VolumeModification"). A volume that no guest has is completed at once when its
//! host has the size. Where the size stays, it is `optimizing` from the beginning.

use tepui_db::model::{Volume, VolumeModification, VolumeState};
use tepui_db::{VolumeChange, VolumeOutcome};
use tepui_types::agent::IoLimits;
use tepui_types::{InstanceId, Timestamp, VolumeId};

use super::create::class_of;
use super::throttle::{iops_limit, throughput_limit};
use super::{VolumeView, changed, check_size};
use crate::failpoint::pass;
use crate::{Caller, Cloud, Error};

/// What is to be changed of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModifyVolume {
    /// The volume.
    pub volume_id: VolumeId,
    /// The new size; `None` leaves it.
    pub size_gib: Option<u32>,
    /// The class of its pool, which it keeps; `None` does not ask.
    pub class: Option<String>,
    /// Operations a second that a guest may do; `None` leaves it.
    pub iops: Option<u32>,
    /// MiB a second that a guest may read and write; `None` leaves it.
    pub throughput_mib: Option<u32>,
    /// Nobody is to write it, so that many instances may have it at once; `None` leaves it.
    pub read_only: Option<bool>,
}

/// How far a modification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModificationState {
    /// The volume's host has not grown it.
    Modifying,
    /// Its guest does not see the new size, or is not held to the new limits.
    Optimizing,
    /// Everybody has the new size and limits.
    Completed,
    /// The volume is lost.
    Failed,
}

/// The last change of a volume's size, limits or access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModificationView {
    /// The volume.
    pub volume_id: VolumeId,
    /// The class of its pool.
    pub class: String,
    /// How far it is.
    pub state: ModificationState,
    /// The size before.
    pub original_gib: u32,
    /// The size that was asked for.
    pub target_gib: u32,
    /// The limits before.
    pub original_limits: IoLimits,
    /// The limits that were asked for.
    pub target_limits: IoLimits,
    /// Whether nobody wrote it before.
    pub original_read_only: bool,
    /// Whether nobody is to write it.
    pub target_read_only: bool,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// When it was completed.
    pub ended_at: Option<Timestamp>,
}

impl ModificationView {
    pub(super) fn of(volume: &Volume, class: &str, row: &VolumeModification) -> Self {
        Self {
            volume_id: volume.id,
            class: class.to_owned(),
            state: state(volume, row),
            original_gib: row.original_gib,
            target_gib: row.target_gib,
            original_limits: row.original_limits,
            target_limits: row.target_limits,
            original_read_only: row.original_read_only,
            target_read_only: row.target_read_only,
            started_at: row.started_at,
            ended_at: row.ended_at,
        }
    }

    /// Of a volume that has what was asked for, and never had anything else.
    fn nothing(volume: VolumeView, now: Timestamp) -> Self {
        Self {
            volume_id: volume.id,
            class: volume.class,
            state: ModificationState::Completed,
            original_gib: volume.size_gib,
            target_gib: volume.size_gib,
            original_limits: volume.limits,
            target_limits: volume.limits,
            original_read_only: volume.read_only,
            target_read_only: volume.read_only,
            started_at: now,
            ended_at: Some(now),
        }
    }
}

/// What of a volume changes only while no instance has it.
fn held(volume: &VolumeView, change: VolumeChange, instance: InstanceId) -> Error {
    match change.read_only.filter(|wanted| *wanted != volume.read_only) {
        Some(wanted) => {
            let rule = format!("changes only while no instance has the volume, and {instance} has it");
            Error::invalid("read_only", wanted, rule)
        }
        None => {
            let rule =
                format!("a read-only volume grows only while no instance has it, and {instance} has it");
            Error::invalid("size", change.size_gib.unwrap_or(volume.size_gib), rule)
        }
    }
}

fn state(volume: &Volume, row: &VolumeModification) -> ModificationState {
    match (row.ended_at, volume.state) {
        (Some(_), _) => ModificationState::Completed,
        (None, VolumeState::Error) => ModificationState::Failed,
        (None, VolumeState::Creating | VolumeState::Available | VolumeState::Deleting) => {
            match volume.actual_gib < row.target_gib {
                true => ModificationState::Modifying,
                false => ModificationState::Optimizing,
            }
        }
    }
}

impl Cloud {
    /// Grows a volume or changes its limits, in use or not, or who may have it, while nobody does; its last
    /// modification, which this one is if it changes something.
    ///
    /// # Errors
    /// `NotFound` for the volume or the class, `RootDisk`, `WrongState`, `InvalidInput` for a size below the present
    /// one, another class, limits out of their bounds, and for the access of a volume that is in use or the size of one
    /// that is read only, `Modifying`, `QuotaExceeded`.
    pub async fn modify_volume(
        &self,
        caller: &Caller,
        request: ModifyVolume,
    ) -> Result<ModificationView, Error> {
        let id = request.volume_id;
        let volume = self.volume(caller, id).await?;
        if self.root_disk_of(caller, id).await?.is_some() {
            return Err(Error::local_root(id, "modified"));
        }
        self.check_class(&volume.class, request.class).await?;
        let size_gib = request.size_gib.unwrap_or(volume.size_gib);
        check_size(size_gib)?;
        let change = VolumeChange {
            size_gib: request.size_gib,
            iops: request.iops.map(iops_limit).transpose()?,
            throughput_mib: request.throughput_mib.map(throughput_limit).transpose()?,
            read_only: request.read_only,
        };
        let (now, more) = (self.now(), u64::from(size_gib.saturating_sub(volume.size_gib)));
        let nodes = self
            .commit(caller, "ModifyVolume", id.to_string(), async {
                match self.db.modify_volume(caller.project, id, change, now).await? {
                    VolumeOutcome::InUse(instance) => Err(held(&volume, change, instance)),
                    outcome => changed(id, outcome, size_gib, more),
                }
            })
            .await?;
        let passed = pass("core::volume::committed")?;
        self.wakes.wake(passed, nodes);
        pass("core::volume::woken")?;
        let mut volume = self.volume(caller, id).await?;
        Ok(volume.modification.take().unwrap_or_else(|| ModificationView::nothing(volume, now)))
    }

    /// A class is named as for a new volume: what was made as gp2 where no pool has that is modified as gp2 too.
    async fn check_class(&self, has: &str, named: Option<String>) -> Result<(), Error> {
        let Some(other) = named.filter(|class| class != has) else { return Ok(()) };
        if class_of(Some(&other), &self.db.pools().await?)? == has {
            return Ok(());
        }
        let rule = format!("is {has}, what it has: a volume stays in its pool");
        Err(Error::invalid("volume_type", other, rule))
    }
}
