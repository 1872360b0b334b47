//! Volumes, root disks among them.

use tepui_core::{
    AttachVolume, AttachmentView, CreateVolume, DetachVolume, EndState, EndView, InstanceView, Kind,
    ModificationView, ModifyVolume, VolumeView,
};
use tepui_db::model;
use tepui_types::VolumeId;
use tepui_types::agent::IoCounters;
use tepui_types::rest::{
    AttachVolumeRequest, AttachmentState, CreateVolumeRequest, DetachVolumeRequest, Empty, List,
    ModificationState, ModifyVolumeRequest, SetVolumeTtlRequest, Volume, VolumeAttachment, VolumeEnd,
    VolumeEndState, VolumeIo, VolumeModification, VolumeState,
};

use super::resolve::pick;
use super::routes::Call;
use super::{instance, snapshot};
use crate::failure::Failure;

/// The volume that a text names. One that is being deleted only by its id: its name is free again.
pub(super) async fn find(call: &Call, text: &str) -> Result<VolumeId, Failure> {
    let mut volumes = call.cloud().volumes(&call.caller, &[]).await?;
    volumes.retain(|view| view.state != model::VolumeState::Deleting || view.id.to_string() == text);
    pick(Kind::Volume, text, volumes.into_iter().map(|view| (view.id, view.tags.get("Name").cloned())))
}

pub(super) async fn create(call: Call, request: CreateVolumeRequest) -> Result<Volume, Failure> {
    let snapshot_id = match &request.snapshot {
        Some(text) => Some(snapshot::find_source(&call, text).await?),
        None => None,
    };
    let CreateVolumeRequest {
        size_gib,
        class,
        iops,
        throughput_mib,
        snapshot: _,
        ttl_seconds,
        read_only,
        name,
        mut tags,
        client_token,
    } = request;
    tags.extend(name.map(|name| ("Name".to_owned(), name)));
    let new = CreateVolume {
        size_gib,
        class,
        iops,
        throughput_mib,
        snapshot_id,
        ttl_seconds,
        read_only,
        client_token,
        tags,
    };
    Ok(shown(call.cloud().create_volume(&call.caller, new).await?))
}

pub(super) async fn list(call: Call, _: Empty) -> Result<List<Volume>, Failure> {
    let volumes = call.cloud().volumes(&call.caller, &[]).await?;
    Ok(List { items: volumes.into_iter().map(shown).collect() })
}

pub(super) async fn show(call: Call, _: Empty) -> Result<Volume, Failure> {
    let id = find(&call, call.target()).await?;
    shown_now(&call, id).await
}

pub(super) async fn modify(call: Call, request: ModifyVolumeRequest) -> Result<Volume, Failure> {
    let volume_id = find(&call, call.target()).await?;
    let ModifyVolumeRequest { size_gib, iops, throughput_mib, read_only } = request;
    let wanted = ModifyVolume { volume_id, size_gib, class: None, iops, throughput_mib, read_only };
    call.cloud().modify_volume(&call.caller, wanted).await?;
    shown_now(&call, volume_id).await
}

pub(super) async fn set_ttl(call: Call, request: SetVolumeTtlRequest) -> Result<Volume, Failure> {
    let id = find(&call, call.target()).await?;
    Ok(shown(call.cloud().set_volume_ttl(&call.caller, id, request.ttl_seconds).await?))
}

pub(super) async fn attach(call: Call, request: AttachVolumeRequest) -> Result<Volume, Failure> {
    let volume_id = find(&call, call.target()).await?;
    let instance = instance::find(&call, &request.instance).await?;
    let instance_id = instance.record.instance.id;
    let device = request.device.unwrap_or_else(|| free_device(&instance));
    let wanted = AttachVolume { volume_id, instance_id, device };
    call.cloud().attach_volume(&call.caller, wanted).await?;
    shown_now(&call, volume_id).await
}

/// The first free name among those that AWS recommends for data disks (EC2 user guide, "Device names on Linux
/// instances"). Where all are taken the attachment is refused as one too many.
fn free_device(instance: &InstanceView) -> String {
    let is_taken = |letter: char| instance.record.attachments.iter().any(|one| one.device.ends_with(letter));
    let letter = ('f'..='p').find(|letter| !is_taken(*letter)).unwrap_or('f');
    format!("/dev/sd{letter}")
}

pub(super) async fn detach(call: Call, request: DetachVolumeRequest) -> Result<Volume, Failure> {
    let volume_id = find(&call, call.target()).await?;
    let instance_id = match &request.instance {
        Some(text) => Some(instance::find(&call, text).await?.record.instance.id),
        None => None,
    };
    let wanted = DetachVolume { volume_id, instance_id, device: None, force: request.force };
    call.cloud().detach_volume(&call.caller, wanted).await?;
    shown_now(&call, volume_id).await
}

pub(super) async fn delete(call: Call, _: Empty) -> Result<Empty, Failure> {
    let id = find(&call, call.target()).await?;
    call.cloud().delete_volume(&call.caller, id).await?;
    Ok(Empty {})
}

async fn shown_now(call: &Call, id: VolumeId) -> Result<Volume, Failure> {
    Ok(shown(call.cloud().volume(&call.caller, id).await?))
}

fn shown(view: VolumeView) -> Volume {
    let state = match (view.state, view.attachments.is_empty()) {
        (model::VolumeState::Available, false) => VolumeState::InUse,
        (model::VolumeState::Available, true) => VolumeState::Available,
        (model::VolumeState::Creating, _) => VolumeState::Creating,
        (model::VolumeState::Deleting, _) => VolumeState::Deleting,
        (model::VolumeState::Error, _) => VolumeState::Error,
    };
    Volume {
        id: view.id,
        name: view.tags.get("Name").cloned(),
        size_gib: view.size_gib,
        iops: limit(view.limits.iops),
        throughput_mib: limit(view.limits.throughput_mib),
        class: view.class,
        state,
        snapshot_id: view.snapshot_id,
        read_only: view.read_only,
        attachments: view.attachments.into_iter().map(attachment).collect(),
        modification: view.modification.map(modification),
        end: view.end.map(end),
        io: view.io.map(io),
        tags: view.tags,
        created_at: view.created_at,
    }
}

fn end(view: EndView) -> VolumeEnd {
    let state = match view.state {
        EndState::Later => VolumeEndState::Later,
        EndState::Soon => VolumeEndState::Soon,
        EndState::Overdue => VolumeEndState::Overdue,
    };
    let EndView { at, warns_at, state: _, not_before } = view;
    VolumeEnd { at, state, warns_at, not_before }
}

fn io(counters: IoCounters) -> VolumeIo {
    let IoCounters { reads, writes, read_bytes, written_bytes } = counters;
    VolumeIo { reads, writes, read_bytes, written_bytes }
}

fn limit(figure: u32) -> Option<u32> {
    (figure > 0).then_some(figure)
}

fn modification(view: ModificationView) -> VolumeModification {
    let (original, target) = (view.original_limits, view.target_limits);
    VolumeModification {
        state: match view.state {
            tepui_core::ModificationState::Modifying => ModificationState::Modifying,
            tepui_core::ModificationState::Optimizing => ModificationState::Optimizing,
            tepui_core::ModificationState::Completed => ModificationState::Completed,
            tepui_core::ModificationState::Failed => ModificationState::Failed,
        },
        original_gib: view.original_gib,
        target_gib: view.target_gib,
        original_iops: limit(original.iops),
        target_iops: limit(target.iops),
        original_throughput_mib: limit(original.throughput_mib),
        target_throughput_mib: limit(target.throughput_mib),
        original_read_only: view.original_read_only,
        target_read_only: view.target_read_only,
        started_at: view.started_at,
        ended_at: view.ended_at,
    }
}

fn attachment(view: AttachmentView) -> VolumeAttachment {
    VolumeAttachment {
        instance_id: view.instance_id,
        device: view.device,
        state: match view.state {
            model::AttachmentState::Attaching => AttachmentState::Attaching,
            model::AttachmentState::Attached => AttachmentState::Attached,
            model::AttachmentState::Detaching => AttachmentState::Detaching,
        },
        delete_on_termination: view.delete_on_termination,
        since: view.since,
    }
}
