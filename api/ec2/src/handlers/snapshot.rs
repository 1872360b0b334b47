//! Snapshots.

use tepui_core::{CopySnapshot, CopyTo, CreateSnapshots, Kind, snapshot_failure};
use tepui_db::model::{Snapshot, SnapshotRecord, SnapshotState};
use tepui_types::{InstanceId, ProjectId, VolumeId};

use super::{fixed, text};
use crate::error::ApiError;
use crate::generated::{
    CopySnapshotRequest, CopySnapshotResult, CreateSnapshotRequest, CreateSnapshotsRequest,
    CreateSnapshotsResult, DeleteSnapshotRequest, DescribeSnapshotsRequest, DescribeSnapshotsResult,
    InstanceSpecification, Snapshot as Shape, SnapshotInfo,
};
use crate::mechanism::{Field, apply, flag, one, parse_id, parse_ids, shown_tags, tags_for};
use crate::operation::{Context, Handle, Void};
use crate::wire::{Text, timestamp};

const FILTERS: &[Field<Shape>] = &[
    ("description", |s| one(&s.description)),
    ("encrypted", |s| flag(s.encrypted)),
    ("owner-id", |s| one(&s.owner_id)),
    ("progress", |s| one(&s.progress)),
    ("snapshot-id", |s| one(&s.snapshot_id)),
    ("start-time", |s| s.start_time.map(|time| timestamp(time).into()).into_iter().collect()),
    ("status", |s| one(&s.state)),
    ("storage-tier", |s| one(&s.storage_tier)),
    ("volume-id", |s| one(&s.volume_id)),
    ("volume-size", |s| s.volume_size.map(|size| size.to_string().into()).into_iter().collect()),
];

impl Handle for CreateSnapshotRequest {
    async fn handle(self, cx: &Context) -> Result<Shape, ApiError> {
        let [tags] = tags_for(self.tag_specifications, ["snapshot"])?;
        let volumes = vec![parse_id(Kind::Volume, &self.volume_id)?];
        let description = self.description.unwrap_or_default().to_string();
        let request = CreateSnapshots { volumes, description, tags, ..CreateSnapshots::default() };
        let taken = cx.cloud.create_snapshots(&cx.caller, &request).await?;
        taken.iter().map(shape).next().ok_or_else(ApiError::internal)
    }
}

impl Handle for CreateSnapshotsRequest {
    async fn handle(self, cx: &Context) -> Result<CreateSnapshotsResult, ApiError> {
        let [tags] = tags_for(self.tag_specifications, ["snapshot"])?;
        let (id, volumes) = volumes_of(cx, &self.instance_specification).await?;
        let description = self.description.unwrap_or_default().to_string();
        let request = CreateSnapshots { volumes, instance: Some(id), freeze: false, description, tags };
        let taken = cx.cloud.create_snapshots(&cx.caller, &request).await?;
        Ok(CreateSnapshotsResult { snapshots: taken.iter().map(info).collect() })
    }
}

impl Handle for CopySnapshotRequest {
    async fn handle(self, cx: &Context) -> Result<CopySnapshotResult, ApiError> {
        check_region(cx, "SourceRegion", &self.source_region)?;
        if let Some(region) = &self.destination_region {
            check_region(cx, "DestinationRegion", region)?;
        }
        let [tags] = tags_for(self.tag_specifications, ["snapshot"])?;
        let source = parse_id(Kind::Snapshot, &self.source_snapshot_id)?;
        let description = self.description.unwrap_or_default().to_string();
        let request = CopySnapshot { source, to: CopyTo::SamePool, description, tags };
        let copy = cx.cloud.copy_snapshot(&cx.caller, request).await?;
        Ok(CopySnapshotResult { snapshot_id: text(copy.snapshot.id), tags: shown_tags(&copy.tags) })
    }
}

fn check_region(cx: &Context, parameter: &str, named: &str) -> Result<(), ApiError> {
    let region = &cx.cloud.config().region;
    if named == region {
        return Ok(());
    }
    let rule = format!("There is one region, '{region}', and a snapshot is copied within it.");
    Err(ApiError::invalid_value(parameter, named, &rule))
}

/// The instance, and those of its volumes that are meant, its root first.
async fn volumes_of(
    cx: &Context,
    specification: &InstanceSpecification,
) -> Result<(InstanceId, Vec<VolumeId>), ApiError> {
    let excludes_root = specification.exclude_boot_volume.unwrap_or_default();
    let named = specification.instance_id.as_deref();
    let named = named.ok_or_else(|| ApiError::missing("InstanceSpecification.InstanceId"))?;
    let id: InstanceId = parse_id(Kind::Instance, named)?;
    let but: Vec<VolumeId> = parse_ids(Kind::Volume, &specification.exclude_data_volume_ids)?;
    let record = cx.cloud.instance(&cx.caller, id).await?.record;
    let local_root = record.root_volume.as_ref().filter(|_| !excludes_root).map(|root| root.id);
    let meant = record.attachments.iter().filter(|one| !(one.is_root && excludes_root));
    let disks = local_root.into_iter().chain(meant.map(|one| one.volume_id));
    let volumes: Vec<_> = disks.filter(|volume| !but.contains(volume)).collect();
    if volumes.is_empty() {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!("'{id}' has no volumes to take snapshots of."),
        ));
    }
    Ok((id, volumes))
}

impl Handle for DescribeSnapshotsRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeSnapshotsResult, ApiError> {
        let ids = parse_ids(Kind::Snapshot, &self.snapshot_ids)?;
        let records = cx.cloud.usable_snapshots(&cx.caller, &ids).await?;
        let shapes = records.iter().filter(|record| self.wants(cx, record)).map(shape).collect();
        let shapes = apply(&cx.filters, FILTERS, |snapshot| &snapshot.tags, shapes)?;
        let (snapshots, next_token) =
            cx.page.cut(shapes, |s| s.snapshot_id.clone().unwrap_or_default().into());
        Ok(DescribeSnapshotsResult { snapshots, next_token })
    }
}

impl DescribeSnapshotsRequest {
    /// Owners are account ids or `self`; other words, such as `amazon`, name nobody here. Who can make volumes of a
    /// snapshot is told to its owner, and to others as far as they are meant by `self` or `all`.
    fn wants(&self, cx: &Context, record: &SnapshotRecord) -> bool {
        let (own, owner) = (cx.caller.project, record.snapshot.project_id);
        let is = |named: &Text, project: ProjectId| *named == project.to_string();
        let is_owner = |named: &Text| is(named, owner) || (named == "self" && owner == own);
        let can_restore = |named: &Text| match named.as_str() {
            "all" => record.sharing.public,
            "self" => owner == own || record.sharing.projects.contains(&own),
            _ => is(named, owner) || record.sharing.projects.iter().any(|project| is(named, *project)),
        };
        let (owners, users) = (&self.owner_ids, &self.restorable_by_user_ids);
        (owners.is_empty() || owners.iter().any(is_owner))
            && (users.is_empty() || users.iter().any(can_restore))
    }
}

impl Handle for DeleteSnapshotRequest {
    async fn handle(self, cx: &Context) -> Result<Void, ApiError> {
        cx.cloud.delete_snapshot(&cx.caller, parse_id(Kind::Snapshot, &self.snapshot_id)?).await?;
        Ok(Void)
    }
}

/// One that is being deleted is shown as it was: AWS has no such state.
fn state(state: SnapshotState) -> (&'static str, &'static str) {
    match state {
        SnapshotState::Pending => ("pending", "0%"),
        SnapshotState::Completed | SnapshotState::Deleting => ("completed", "100%"),
        SnapshotState::Error => ("error", "0%"),
    }
}

fn shape(record: &SnapshotRecord) -> Shape {
    let snapshot = &record.snapshot;
    let (state, progress) = state(snapshot.state);
    let failed = snapshot.state == SnapshotState::Error;
    Shape {
        description: text(&snapshot.description),
        encrypted: Some(false),
        owner_id: text(snapshot.project_id),
        progress: fixed(progress),
        snapshot_id: text(snapshot.id),
        start_time: Some(snapshot.created_at),
        state: fixed(state),
        state_message: failed.then(|| Text::new_static(snapshot_failure(snapshot))),
        storage_tier: fixed("standard"),
        tags: shown_tags(&record.tags),
        volume_id: volume_id(snapshot),
        volume_size: Some(snapshot.size_gib.into()),
    }
}

/// Of one that was taken of no volume the same that AWS shows, which is older than ids of today's length.
fn volume_id(snapshot: &Snapshot) -> Option<Text> {
    match snapshot.volume_id {
        Snapshot::NO_VOLUME => fixed("vol-ffffffff"),
        id => text(id),
    }
}

fn info(record: &SnapshotRecord) -> SnapshotInfo {
    let Shape { description, encrypted, owner_id, progress, snapshot_id, start_time, state, tags, .. } =
        shape(record);
    SnapshotInfo {
        description,
        encrypted,
        owner_id,
        progress,
        snapshot_id,
        start_time,
        state,
        tags,
        volume_id: text(record.snapshot.volume_id),
        volume_size: Some(record.snapshot.size_gib.into()),
    }
}
