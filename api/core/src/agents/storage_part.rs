//! A node's storage part, from rows, and what the node's word means for them.

use std::collections::{HashMap, HashSet};

use tepui_db::model::{
    Attachment, AttachmentState, ExportState, InstanceRecord, MoveStage, Pool, Quarantined, Snapshot,
    SnapshotFreeze, SnapshotState, Volume, VolumeMove, VolumeState,
};
use tepui_db::{InstanceFilter, StorageNews, StoragePartState};
use tepui_types::agent::{
    DiskObserved, DiskPart, DiskSpec, DiskState, ExportPart, ExportState as SeenExport, LeftoverKind,
    PlacementObserved, PoolPart, SnapshotImage, SnapshotPart, SnapshotSource, StorageObserved, StoragePart,
    StoredId, StoredState, VolumePart, VolumeSource, WantedDisk, WantedExport, WantedSnapshot, WantedUnlink,
    WantedVolume,
};
use tepui_types::{ExportId, InstanceId, NodeId, PoolId, VolumeId};

use crate::failpoint::pass;
use crate::snapshot::restore_test::{test_news, wanted_test};
use crate::transition::end_of_launch;
use crate::{Cloud, Error};

const GIB: u64 = 1 << 30;

impl Cloud {
    /// The body of a node's storage part, which depends on nothing but the rows of one snapshot.
    pub(super) fn build_storage_part(&self, state: &StoragePartState) -> Result<StoragePart, Error> {
        let export = |(attachment, address): &(Attachment, _)| {
            let wanted = match attachment.export_state {
                ExportState::Making | ExportState::Open => ExportPart::Open {
                    node_address: *address,
                    secret: self.secret_of(attachment)?,
                    read_only: attachment.read_only,
                },
                ExportState::Closing | ExportState::Closed => ExportPart::Absent,
            };
            Ok(WantedExport { id: attachment.export_id, volume_id: attachment.volume_id, wanted })
        };
        Ok(StoragePart {
            pools: state.pools.iter().map(pool).collect(),
            volumes: state.volumes.iter().map(|one| volume(one, move_of(state, one.id))).collect(),
            snapshots: state.snapshots.iter().filter(|one| is_told(one)).map(snapshot).collect(),
            exports: state.attachments.iter().map(export).collect::<Result<_, Error>>()?,
            unlinks: state.quarantine.iter().filter(|one| one.ordered).map(unlink).collect(),
            tests: state.tests.iter().map(wanted_test).collect(),
        })
    }

    fn secret_of(&self, attachment: &Attachment) -> Result<String, Error> {
        let name = attachment.export_id.to_string();
        let secret = self.keyring.unwrap(&name, &attachment.wrapped_secret).map_err(Error::internal)?;
        String::from_utf8(secret).map_err(Error::internal)
    }

    /// The disks of a placement beside its root disk.
    pub(super) fn wanted_disks(&self, record: &InstanceRecord) -> Result<Vec<WantedDisk>, Error> {
        let mut disks = Vec::new();
        for attachment in &record.attachments {
            let wanted = match (attachment.state, &attachment.source) {
                (AttachmentState::Attaching | AttachmentState::Attached, Some(source)) => {
                    DiskPart::Attached(Box::new(self.disk_spec(attachment, source)?))
                }
                (AttachmentState::Attaching | AttachmentState::Attached, None) => DiskPart::Awaited,
                (AttachmentState::Detaching, _) => DiskPart::Absent,
            };
            disks.push(WantedDisk {
                export_id: attachment.export_id,
                volume_id: attachment.volume_id,
                wanted,
            });
        }
        disks.sort_unstable_by_key(|disk| disk.export_id);
        Ok(disks)
    }

    fn disk_spec(&self, attachment: &Attachment, source: &VolumeSource) -> Result<DiskSpec, Error> {
        let secret = match source {
            VolumeSource::Iscsi { .. } => Some(self.secret_of(attachment)?),
            VolumeSource::Nfs { .. } | VolumeSource::Local { .. } => None,
        };
        Ok(DiskSpec {
            device: attachment.device.clone(),
            source: source.clone(),
            secret,
            read_only: attachment.read_only,
            size_bytes: u64::from(attachment.size_gib) * GIB,
            limits: attachment.limits,
            is_root: attachment.is_root,
        })
    }

    /// Applies what a storage host says of its pools.
    pub(super) async fn take_storage(&self, node: NodeId, seen: &StorageObserved) -> Result<(), Error> {
        let turn = self.host_turn().await?;
        let state = self.db.storage_part(node).await?;
        drop(turn);
        let Some(state) = state else { return Ok(()) };
        let news = storage_news(&state, seen);
        self.apply_news(node, &news).await?;
        self.end_launches(&failed_launches(&state, &news)).await
    }

    /// Ends instances of which a volume can never be made, as those whose first start fails for good.
    async fn end_launches(&self, failed: &[(Volume, InstanceId)]) -> Result<(), Error> {
        for (volume, instance) in failed {
            let filter = InstanceFilter { ids: vec![*instance], reservation: None };
            for record in self.db.instances(volume.project_id, &filter).await? {
                let Some(placement) = &record.placement else { continue };
                let Some(end) = end_of_launch(&record.instance, placement, volume) else { continue };
                self.db.apply_transitions(placement.node_id, &[end], self.now()).await?;
                let passed = pass("core::report::applied")?;
                self.wakes.wake(passed, [placement.node_id]);
                pass("core::report::woken")?;
            }
        }
        Ok(())
    }

    /// Applies what changes the books, and wakes whom it concerns.
    pub(super) async fn apply_news(&self, node: NodeId, news: &[StorageNews]) -> Result<(), Error> {
        if news.is_empty() {
            return Ok(());
        }
        let concerned = self.db.apply_storage_news(node, news, self.now()).await?;
        let passed = pass("core::storage_news::applied")?;
        self.wakes.wake(passed, concerned);
        pass("core::storage_news::woken")?;
        Ok(())
    }
}

fn pool(pool: &Pool) -> PoolPart {
    PoolPart {
        filer: pool.filer.clone(),
        id: pool.id,
        backend: pool.backend,
        path: pool.path.clone(),
        soft_percent: pool.soft_percent,
        hard_percent: pool.hard_percent,
    }
}

fn unlink(one: &Quarantined) -> WantedUnlink {
    WantedUnlink { pool_id: one.pool_id, id: one.id }
}

fn move_of(state: &StoragePartState, id: VolumeId) -> Option<&VolumeMove> {
    state.moves.iter().find(|one| one.volume_id == id)
}

fn volume(volume: &Volume, on_move: Option<&VolumeMove>) -> WantedVolume {
    let wanted = match (volume.state, on_move.map(|one| (one.stage, one.target_id))) {
        (VolumeState::Available, Some((MoveStage::Leaving, _))) => VolumePart::Absent,
        (VolumeState::Available, Some((MoveStage::Arriving, copy))) => VolumePart::Present {
            size_bytes: u64::from(volume.size_gib) * GIB,
            snapshot_id: Some(copy),
            image: None,
            made: false,
        },
        (VolumeState::Creating | VolumeState::Available, _) => VolumePart::Present {
            size_bytes: u64::from(volume.size_gib) * GIB,
            snapshot_id: volume.snapshot_id,
            image: volume.image,
            made: volume.state == VolumeState::Available,
        },
        (VolumeState::Deleting | VolumeState::Error, _) => VolumePart::Absent,
    };
    WantedVolume { id: volume.id, pool_id: volume.pool_id, wanted }
}

/// One whose guest does not hold still yet must not be taken.
fn is_told(snapshot: &Snapshot) -> bool {
    (snapshot.state, snapshot.freeze) != (SnapshotState::Pending, Some(SnapshotFreeze::Waiting))
}

fn snapshot(snapshot: &Snapshot) -> WantedSnapshot {
    let wanted = match snapshot.state {
        SnapshotState::Pending | SnapshotState::Completed => {
            let taken = snapshot.state == SnapshotState::Completed || is_taken(snapshot);
            let size_bytes = u64::from(snapshot.size_gib) * GIB;
            let root = snapshot.root_of.map(|_| SnapshotSource::root(snapshot.id));
            SnapshotPart::Present {
                volume_id: snapshot.volume_id,
                copy_of: snapshot.copy_of.or(root),
                image: snapshot.image.map(|content| SnapshotImage { content, size_bytes }),
                taken,
            }
        }
        SnapshotState::Deleting | SnapshotState::Error => SnapshotPart::Absent,
    };
    WantedSnapshot { id: snapshot.id, pool_id: snapshot.pool_id, wanted }
}

/// It is there, and waits for its guest's node to say that it held still.
fn is_taken(snapshot: &Snapshot) -> bool {
    (snapshot.state, snapshot.freeze) == (SnapshotState::Pending, Some(SnapshotFreeze::Taken))
}

/// What a storage host's whole word means that the books do not say yet.
pub(super) fn storage_news(state: &StoragePartState, seen: &StorageObserved) -> Vec<StorageNews> {
    let volumes: HashMap<VolumeId, &Volume> =
        state.volumes.iter().map(|volume| (volume.id, volume)).collect();
    let exports: HashMap<ExportId, &Attachment> =
        state.attachments.iter().map(|(attachment, _)| (attachment.export_id, attachment)).collect();
    let mut news = Vec::new();
    for seen in &seen.volumes {
        let known = volumes.get(&seen.id);
        news.extend(known.and_then(|volume| volume_news(volume, move_of(state, seen.id), &seen.state)));
    }
    for seen in &seen.snapshots {
        let known = state.snapshots.iter().find(|snapshot| snapshot.id == seen.id);
        news.extend(known.and_then(|snapshot| snapshot_news(snapshot, &seen.state)));
    }
    for seen in &seen.exports {
        news.extend(exports.get(&seen.id).and_then(|attachment| export_news(attachment, &seen.state)));
    }
    news.extend(test_news(state, &seen.tests));
    news.extend(found_in_trash(state, seen));
    news
}

/// What lies in the trash and no row tells of: what hosts removed before there were such rows, or after the backup that
/// was restored.
fn found_in_trash(state: &StoragePartState, seen: &StorageObserved) -> Vec<StorageNews> {
    let volumes = state.volumes.iter().map(|one| (one.pool_id, StoredId::Volume(one.id)));
    let snapshots = state.snapshots.iter().map(|one| (one.pool_id, StoredId::Snapshot(one.id)));
    let told = volumes.chain(snapshots).chain(state.quarantine.iter().map(|one| (one.pool_id, one.id)));
    let told: HashSet<(PoolId, StoredId)> = told.collect();
    let found = seen.leftovers.iter().filter_map(|leftover| match leftover.kind {
        LeftoverKind::Removed { id } if !told.contains(&(leftover.pool_id, id)) => {
            Some(StorageNews::InTrash(leftover.pool_id, id))
        }
        LeftoverKind::Removed { .. } | LeftoverKind::Unnamed { .. } | LeftoverKind::Base { .. } => None,
    });
    found.collect()
}

/// Volumes that failed, with why, and that an instance waits for since its launch: only there can a volume be attached
/// that never was available. Those that failed before are among them, so that a word that was lost is said again.
fn failed_launches(state: &StoragePartState, news: &[StorageNews]) -> Vec<(Volume, InstanceId)> {
    let failed = |volume: &Volume| {
        let told = news.iter().find_map(|one| match one {
            StorageNews::VolumeFailed(id, why) if *id == volume.id => Some(why.clone()),
            _ => None,
        });
        let is_old = volume.state == VolumeState::Error;
        (is_old || told.is_some())
            .then(|| Volume { message: told.or(volume.message.clone()), ..volume.clone() })
    };
    let waits = |attachment: &Attachment| {
        attachment.state != AttachmentState::Detaching && attachment.export_state == ExportState::Making
    };
    let waiting = state.attachments.iter().map(|(attachment, _)| attachment).filter(|one| waits(one));
    let of = |attachment: &Attachment| {
        let volume = state.volumes.iter().find(|volume| volume.id == attachment.volume_id)?;
        Some((failed(volume)?, attachment.instance_id))
    };
    waiting.filter_map(of).collect()
}

fn volume_news(volume: &Volume, on_move: Option<&VolumeMove>, seen: &StoredState) -> Option<StorageNews> {
    let is_at = |stage| on_move.is_some_and(|one| one.stage == stage);
    match seen {
        StoredState::Present { size_bytes } => {
            let gib = gib(*size_bytes);
            let is_new = volume.state == VolumeState::Creating || is_at(MoveStage::Arriving);
            let news = is_new || volume.actual_gib != gib;
            news.then_some(StorageNews::VolumePresent(volume.id, gib))
        }
        StoredState::Failed { message, permanent } => {
            let news = *permanent && volume.state == VolumeState::Creating;
            news.then(|| StorageNews::VolumeFailed(volume.id, message.clone()))
        }
        StoredState::Awaited { .. } => None,
        StoredState::Gone => {
            let is_told = volume.state == VolumeState::Deleting || is_at(MoveStage::Leaving);
            is_told.then_some(StorageNews::VolumeGone(volume.id))
        }
    }
}

fn snapshot_news(snapshot: &Snapshot, seen: &StoredState) -> Option<StorageNews> {
    let (pending, id) = (snapshot.state == SnapshotState::Pending, snapshot.id);
    match seen {
        StoredState::Present { size_bytes } => {
            let gib = u32::try_from(size_bytes / GIB).unwrap_or(u32::MAX);
            (pending && !is_taken(snapshot)).then_some(StorageNews::SnapshotPresent(id, gib))
        }
        // A guest does not hold still until there is room.
        StoredState::Failed { message, permanent } => {
            let is_over = *permanent || snapshot.freeze == Some(SnapshotFreeze::Taking);
            (is_over && pending).then(|| StorageNews::SnapshotFailed(id, message.clone()))
        }
        StoredState::Awaited { .. } => None,
        StoredState::Gone => {
            (snapshot.state == SnapshotState::Deleting).then_some(StorageNews::SnapshotGone(id))
        }
    }
}

fn export_news(attachment: &Attachment, seen: &SeenExport) -> Option<StorageNews> {
    let id = attachment.export_id;
    match (attachment.export_state, seen) {
        (ExportState::Making | ExportState::Open, SeenExport::Open { source }) => {
            let news =
                attachment.export_state == ExportState::Making || attachment.source.as_ref() != Some(source);
            news.then(|| StorageNews::ExportOpen(id, source.clone()))
        }
        (ExportState::Making | ExportState::Open | ExportState::Closing, SeenExport::Failed { message }) => {
            failed(attachment, message)
        }
        (ExportState::Closing, SeenExport::Gone) => Some(StorageNews::ExportGone(id)),
        (ExportState::Closing, SeenExport::Closing { connections }) => {
            failed(attachment, &format!("waits for {connections} connections to end"))
        }
        (ExportState::Making | ExportState::Open, SeenExport::Closing { .. } | SeenExport::Gone)
        | (ExportState::Closing, SeenExport::Open { .. })
        | (ExportState::Closed, _) => None,
    }
}

fn failed(attachment: &Attachment, message: &str) -> Option<StorageNews> {
    let news = attachment.message.as_deref() != Some(message);
    news.then(|| StorageNews::Failed(attachment.export_id, message.to_owned()))
}

/// What a node's word of its placements' disks means that the books do not say yet.
pub(super) fn disk_news(records: &[InstanceRecord], seen: &[PlacementObserved]) -> Vec<StorageNews> {
    let mut news = Vec::new();
    for seen in seen.iter().filter(|seen| !seen.disks.is_empty()) {
        let own = |record: &&InstanceRecord| record.placement.as_ref().is_some_and(|own| own.id == seen.id);
        let attachments = records.iter().find(own).map_or(&[][..], |record| &record.attachments);
        for disk in &seen.disks {
            let known = attachments.iter().find(|attachment| attachment.export_id == disk.export_id);
            news.extend(known.and_then(|attachment| one_disk(attachment, &disk.state)));
            news.extend(known.and_then(|attachment| disk_fit(attachment, disk)));
        }
    }
    news
}

fn disk_fit(attachment: &Attachment, seen: &DiskObserved) -> Option<StorageNews> {
    let (gib, limits) = (gib(seen.size_bytes), seen.limits);
    let is_known = (attachment.guest_gib, attachment.guest_limits) == (gib, limits);
    let news = seen.state == DiskState::Attached && !is_known;
    news.then_some(StorageNews::DiskFitted(attachment.export_id, gib, limits))
}

fn gib(bytes: u64) -> u32 {
    u32::try_from(bytes / GIB).unwrap_or(u32::MAX)
}

fn one_disk(attachment: &Attachment, seen: &DiskState) -> Option<StorageNews> {
    let id = attachment.export_id;
    match (attachment.state, seen) {
        (AttachmentState::Attaching, DiskState::Attached) => Some(StorageNews::DiskAttached(id)),
        (AttachmentState::Detaching, DiskState::Absent)
            if attachment.export_state != ExportState::Closing =>
        {
            Some(StorageNews::DiskAbsent(id))
        }
        (AttachmentState::Detaching, DiskState::Detaching) => {
            failed(attachment, "the guest was asked to let go of it")
        }
        (_, DiskState::Failed { message }) => failed(attachment, message),
        (AttachmentState::Attached, DiskState::Attached | DiskState::Absent | DiskState::Detaching)
        | (AttachmentState::Attaching, DiskState::Absent | DiskState::Detaching)
        | (AttachmentState::Detaching, DiskState::Attached | DiskState::Absent) => None,
    }
}
