//! Volumes: those of pools, and the root disks that instances bring along.

pub(crate) mod attach;
pub(crate) mod create;

mod end;
mod modify;
mod moving;
mod on_termination;
pub(crate) mod throttle;

use std::collections::BTreeMap;

use tepui_db::model::{Attachment, AttachmentState, InstanceRecord, VolumeRecord, VolumeState};
use tepui_db::{InstanceFilter, VolumeOutcome};
use tepui_types::agent::{IoCounters, IoLimits};
use tepui_types::{InstanceId, NodeId, SnapshotId, Timestamp, VolumeId};

use crate::disk_io::IoBook;
use crate::failpoint::pass;
use crate::{Caller, Cloud, Error, Kind, limits};

pub use attach::{AttachVolume, DetachVolume};
pub use create::CreateVolume;
pub(crate) use end::WatchedTime;
pub use end::{EndState, EndView};
pub use modify::{ModificationState, ModificationView, ModifyVolume};
pub use moving::PoolLeaving;
pub use on_termination::DiskChange;
pub use throttle::{USUAL_IOPS, USUAL_THROUGHPUT_MIB};

/// The class that local root disks are shown with, and that is taken where a client names one of AWS's types
/// that no pool has.
pub(crate) const USUAL_CLASS: &str = "gp3";

/// A volume as `DescribeVolumes` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeView {
    /// The id.
    pub id: VolumeId,
    /// The size that was asked for last.
    pub size_gib: u32,
    /// The size that its host confirmed.
    pub actual_gib: u32,
    /// What a guest may do with it.
    pub limits: IoLimits,
    /// The class of its pool.
    pub class: String,
    /// How far it is.
    pub state: VolumeState,
    /// What it was made from.
    pub snapshot_id: Option<SnapshotId>,
    /// Nobody writes it, so that many instances may have it at once.
    pub read_only: bool,
    /// Where it is used: in one place at most unless it is read only, the oldest first.
    pub attachments: Vec<AttachmentView>,
    /// The last change of its size, limits or access.
    pub modification: Option<ModificationView>,
    /// When it is deleted by itself.
    pub end: Option<EndView>,
    /// What the guests that have it did with it since they started or were given it, by their hosts' last words to this
    /// process.
    pub io: Option<IoCounters>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A volume's place in an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentView {
    /// The volume.
    pub volume_id: VolumeId,
    /// The instance.
    pub instance_id: InstanceId,
    /// The client's name of the disk.
    pub device: String,
    /// How far it is.
    pub state: AttachmentState,
    /// When it was asked for.
    pub since: Timestamp,
    /// The volume goes with the instance.
    pub delete_on_termination: bool,
}

impl AttachmentView {
    pub(crate) fn of(attachment: &Attachment) -> Self {
        Self {
            volume_id: attachment.volume_id,
            instance_id: attachment.instance_id,
            device: attachment.device.clone(),
            state: attachment.state,
            since: attachment.since,
            delete_on_termination: attachment.delete_on_termination,
        }
    }
}

impl VolumeView {
    fn of_pool(record: VolumeRecord, io: &IoBook, now: Timestamp) -> Self {
        let VolumeRecord { volume, class, attachments, modification, end, tags } = record;
        let modification = modification.map(|row| ModificationView::of(&volume, &class, &row));
        Self {
            id: volume.id,
            size_gib: volume.size_gib,
            actual_gib: volume.actual_gib,
            limits: volume.limits,
            class,
            state: volume.state,
            snapshot_id: volume.snapshot_id,
            read_only: volume.read_only,
            attachments: attachments.iter().map(AttachmentView::of).collect(),
            modification,
            end: end.map(|end| EndView::of(&end, now)),
            io: attachments.iter().filter_map(|one| io.of(one.export_id)).reduce(IoCounters::and),
            created_at: volume.created_at,
            tags,
        }
    }

    fn of_root(record: &InstanceRecord) -> Option<Self> {
        let volume = record.root_volume.as_ref()?;
        let attachment = AttachmentView {
            volume_id: volume.id,
            instance_id: record.instance.id,
            device: volume.device.clone(),
            state: AttachmentState::Attached,
            since: volume.created_at,
            delete_on_termination: volume.delete_on_termination,
        };
        Some(Self {
            id: volume.id,
            size_gib: volume.size_gib,
            actual_gib: volume.size_gib,
            limits: IoLimits::NONE,
            class: USUAL_CLASS.into(),
            state: VolumeState::Available,
            snapshot_id: None,
            read_only: false,
            attachments: vec![attachment],
            modification: None,
            end: None,
            io: None,
            created_at: volume.created_at,
            tags: BTreeMap::new(),
        })
    }
}

impl Cloud {
    /// The caller's volumes, by id: these, or all when `ids` is empty.
    ///
    /// # Errors
    /// `NotFound` for the first id that is unknown or foreign.
    pub async fn volumes(&self, caller: &Caller, ids: &[VolumeId]) -> Result<Vec<VolumeView>, Error> {
        let filter = InstanceFilter::default();
        let (records, instances, mut tags) = futures::try_join!(
            self.db.volumes(caller.project),
            self.db.instances(caller.project, &filter),
            self.db.tags(caller.project)
        )?;
        let now = self.now();
        let mut volumes: Vec<_> =
            records.into_iter().map(|record| VolumeView::of_pool(record, &self.io, now)).collect();
        for record in instances {
            let root = VolumeView::of_root(&record);
            volumes.extend(root.map(|root| VolumeView {
                tags: tags.remove(&root.id.to_string()).unwrap_or_default(),
                ..root
            }));
        }
        if let Some(missing) = ids.iter().find(|id| !volumes.iter().any(|v| v.id == **id)) {
            return Err(Error::not_found(Kind::Volume, missing));
        }
        volumes.retain(|v| ids.is_empty() || ids.contains(&v.id));
        volumes.sort_by_key(|v| v.id);
        Ok(volumes)
    }

    /// One of the caller's volumes.
    ///
    /// # Errors
    /// `NotFound`, also for a foreign one.
    pub async fn volume(&self, caller: &Caller, id: VolumeId) -> Result<VolumeView, Error> {
        let found = self.volumes(caller, &[id]).await?.pop();
        found.ok_or_else(|| Error::not_found(Kind::Volume, id))
    }

    /// The caller's instance whose root disk this is. One that is local to its host is in no pool.
    async fn root_disk_of(&self, caller: &Caller, id: VolumeId) -> Result<Option<InstanceId>, Error> {
        let records = self.db.instances(caller.project, &InstanceFilter::default()).await?;
        let own = records.iter().find(|record| record.root_volume.as_ref().is_some_and(|root| root.id == id));
        Ok(own.map(|record| record.instance.id))
    }

    /// Deletes a volume that is not in use.
    ///
    /// # Errors
    /// `NotFound`, `InUse`.
    pub async fn delete_volume(&self, caller: &Caller, id: VolumeId) -> Result<(), Error> {
        let volume = self.volume(caller, id).await?;
        if let Some(attachment) = volume.attachments.first() {
            return Err(in_use(id, attachment.instance_id));
        }
        let nodes = self
            .commit(caller, "DeleteVolume", id.to_string(), async {
                changed(id, self.db.delete_volume(caller.project, id).await?, 0, 0)
            })
            .await?;
        let passed = pass("core::volume::committed")?;
        self.wakes.wake(passed, nodes);
        pass("core::volume::woken")?;
        Ok(())
    }
}

/// The nodes that carry a change out, if there is anything to do.
fn changed(id: VolumeId, outcome: VolumeOutcome, size_gib: u32, asked: u64) -> Result<Vec<NodeId>, Error> {
    match outcome {
        VolumeOutcome::Changed(nodes) => Ok(nodes),
        VolumeOutcome::Unchanged => Ok(Vec::new()),
        VolumeOutcome::NotFound => Err(Error::not_found(Kind::Volume, id)),
        VolumeOutcome::WrongState(state) => {
            Err(Error::WrongState { id: id.to_string(), state: state.name().into(), wanted: "available" })
        }
        VolumeOutcome::InUse(instance) => Err(in_use(id, instance)),
        VolumeOutcome::Moving => Err(Error::Moving { id: id.to_string() }),
        VolumeOutcome::Modifying => Err(Error::Modifying { id: id.to_string() }),
        VolumeOutcome::WouldShrink(now) => {
            Err(Error::invalid("size", size_gib, format!("is at least {now} GiB: a volume never shrinks")))
        }
        VolumeOutcome::QuotaExceeded { limit, used } => {
            Err(Error::QuotaExceeded { quota: "volume_gib", limit, used, asked })
        }
    }
}

pub(crate) fn in_use(id: VolumeId, instance: InstanceId) -> Error {
    Error::InUse { kind: Kind::Volume, id: id.to_string(), by: format!("instance {instance}") }
}

fn check_size(size_gib: u32) -> Result<(), Error> {
    if size_gib == 0 || size_gib > limits::DISK_GIB {
        return Err(Error::invalid("size", size_gib, format!("is 1 to {} GiB", limits::DISK_GIB)));
    }
    Ok(())
}
