//! Volumes.

use tepui_core::{
    AttachVolume, AttachmentView, CreateVolume, DetachVolume, EndState, EndView, Kind, USUAL_IOPS,
    USUAL_THROUGHPUT_MIB, VolumeView,
};
use tepui_db::model::VolumeState;
use tepui_types::agent::IoLimits;
use tepui_types::{SnapshotId, VolumeId};

use super::{fixed, text};
use crate::error::ApiError;
use crate::generated::{
    AttachVolumeRequest, AttributeBooleanValue, CreateVolumeRequest, DeleteVolumeRequest,
    DescribeVolumeAttributeRequest, DescribeVolumeAttributeResult, DescribeVolumeStatusRequest,
    DescribeVolumeStatusResult, DescribeVolumesRequest, DescribeVolumesResult, DetachVolumeRequest,
    Volume as Shape, VolumeAttachment, VolumeStatusDetails, VolumeStatusEvent, VolumeStatusInfo,
    VolumeStatusItem,
};
use crate::mechanism::{Field, apply, flag, many, one, parse_id, parse_ids, shown_tags, tags_for};
use crate::operation::{Context, Handle, Void};
use crate::wire::{Text, timestamp};

/// Operations and MiB a second, with figures for what has no limit.
pub(super) fn figures(limits: IoLimits) -> (i64, i64) {
    let shown = |limit: u32, usual: u32| i64::from(if limit == 0 { usual } else { limit });
    (shown(limits.iops, USUAL_IOPS), shown(limits.throughput_mib, USUAL_THROUGHPUT_MIB))
}

/// A limit as it is asked for.
pub(super) fn limit(parameter: &str, asked: i64) -> Result<u32, ApiError> {
    u32::try_from(asked)
        .map_err(|_| ApiError::invalid_value(parameter, &asked.to_string(), "It is a number above 0."))
}

const FILTERS: &[Field<Shape>] = &[
    ("attachment.attach-time", |v| v.attachments.iter().filter_map(|a| a.attach_time).map(time).collect()),
    ("attachment.delete-on-termination", |v| {
        v.attachments.iter().flat_map(|a| flag(a.delete_on_termination)).collect()
    }),
    ("attachment.device", |v| many(&v.attachments, |a| &a.device)),
    ("attachment.instance-id", |v| many(&v.attachments, |a| &a.instance_id)),
    ("attachment.status", |v| many(&v.attachments, |a| &a.state)),
    ("availability-zone", |v| one(&v.availability_zone)),
    ("create-time", |v| v.create_time.map(time).into_iter().collect()),
    ("encrypted", |v| flag(v.encrypted)),
    ("multi-attach-enabled", |v| flag(v.multi_attach_enabled)),
    ("snapshot-id", |v| one(&v.snapshot_id)),
    ("size", |v| v.size.map(|size| size.to_string().into()).into_iter().collect()),
    ("status", |v| one(&v.state)),
    ("volume-id", |v| one(&v.volume_id)),
    ("volume-type", |v| one(&v.volume_type)),
];

fn time(time: jiff::Timestamp) -> Text {
    timestamp(time).into()
}

impl Handle for DescribeVolumesRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeVolumesResult, ApiError> {
        let ids = parse_ids(Kind::Volume, &self.volume_ids)?;
        let views = cx.cloud.volumes(&cx.caller, &ids).await?;
        let shapes = views.iter().map(|view| shape(&cx.cloud.config().zone(), view)).collect();
        let shapes = apply(&cx.filters, FILTERS, |volume| &volume.tags, shapes)?;
        let (volumes, next_token) = cx.page.cut(shapes, |v| v.volume_id.clone().unwrap_or_default().into());
        Ok(DescribeVolumesResult { volumes, next_token })
    }
}

impl Handle for CreateVolumeRequest {
    async fn handle(self, cx: &Context) -> Result<Shape, ApiError> {
        let zone = cx.cloud.config().zone();
        if let Some(other) = self.availability_zone.as_deref().filter(|named| *named != zone) {
            return Err(ApiError::new("InvalidZone.NotFound", format!("The zone '{other}' does not exist")));
        }
        let [tags] = tags_for(self.tag_specifications, ["volume"])?;
        let request = CreateVolume {
            size_gib: self.size.map(|size| gib("Size", size)).transpose()?,
            class: self.volume_type.map(String::from),
            iops: self.iops.map(|asked| limit("Iops", asked)).transpose()?,
            throughput_mib: self.throughput.map(|asked| limit("Throughput", asked)).transpose()?,
            snapshot_id: snapshot_id(self.snapshot_id.as_deref())?,
            ttl_seconds: None,
            read_only: self.multi_attach_enabled.unwrap_or_default(),
            client_token: cx.token.clone().map(String::from),
            tags,
        };
        let view = cx.cloud.create_volume(&cx.caller, request).await?;
        Ok(shape(&zone, &view))
    }
}

/// An empty text is none: clients send it where a template leaves the field blank.
fn snapshot_id(text: Option<&str>) -> Result<Option<SnapshotId>, ApiError> {
    text.filter(|text| !text.is_empty()).map(|text| parse_id(Kind::Snapshot, text)).transpose()
}

pub(super) fn gib(parameter: &str, size: i64) -> Result<u32, ApiError> {
    u32::try_from(size)
        .map_err(|_| ApiError::invalid_value(parameter, &size.to_string(), "It is a number of GiB above 0."))
}

impl Handle for DeleteVolumeRequest {
    async fn handle(self, cx: &Context) -> Result<Void, ApiError> {
        cx.cloud.delete_volume(&cx.caller, parse_id(Kind::Volume, &self.volume_id)?).await?;
        Ok(Void)
    }
}

impl Handle for AttachVolumeRequest {
    async fn handle(self, cx: &Context) -> Result<VolumeAttachment, ApiError> {
        let request = AttachVolume {
            volume_id: parse_id(Kind::Volume, &self.volume_id)?,
            instance_id: parse_id(Kind::Instance, &self.instance_id)?,
            device: self.device.to_string(),
        };
        Ok(attachment(&cx.cloud.attach_volume(&cx.caller, request).await?))
    }
}

impl Handle for DetachVolumeRequest {
    async fn handle(self, cx: &Context) -> Result<VolumeAttachment, ApiError> {
        let instance = self.instance_id.as_deref();
        let request = DetachVolume {
            volume_id: parse_id(Kind::Volume, &self.volume_id)?,
            instance_id: instance.map(|id| parse_id(Kind::Instance, id)).transpose()?,
            device: self.device.map(String::from),
            force: self.force.unwrap_or_default(),
        };
        Ok(attachment(&cx.cloud.detach_volume(&cx.caller, request).await?))
    }
}

impl Handle for DescribeVolumeAttributeRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeVolumeAttributeResult, ApiError> {
        let view = cx.cloud.volume(&cx.caller, parse_id(Kind::Volume, &self.volume_id)?).await?;
        match self.attribute.as_ref() {
            "autoEnableIO" => Ok(DescribeVolumeAttributeResult {
                auto_enable_io: Some(AttributeBooleanValue { value: Some(true) }),
                volume_id: text(view.id),
            }),
            other => Err(ApiError::invalid_value("Attribute", other, "It is autoEnableIO.")),
        }
    }
}

const STATUS_FILTERS: &[Field<VolumeStatusItem>] = &[
    ("availability-zone", |v| one(&v.availability_zone)),
    ("event.description", |v| many(&v.events, |event| &event.description)),
    ("event.event-id", |v| many(&v.events, |event| &event.event_id)),
    ("event.event-type", |v| many(&v.events, |event| &event.event_type)),
    ("event.not-before", |v| v.events.iter().filter_map(|event| event.not_before).map(time).collect()),
    ("volume-status.status", |v| v.volume_status.iter().flat_map(|status| one(&status.status)).collect()),
];

impl Handle for DescribeVolumeStatusRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeVolumeStatusResult, ApiError> {
        let ids = parse_ids(Kind::Volume, &self.volume_ids)?;
        let views = cx.cloud.volumes(&cx.caller, &ids).await?;
        let zone = cx.cloud.config().zone();
        let items = views.iter().map(|view| status_item(&zone, view)).collect();
        let items = apply(&cx.filters, STATUS_FILTERS, |_| &[], items)?;
        let (volume_statuses, next_token) =
            cx.page.cut(items, |item| item.volume_id.clone().unwrap_or_default().into());
        Ok(DescribeVolumeStatusResult { volume_statuses, next_token })
    }
}

fn status_item(zone: &str, view: &VolumeView) -> VolumeStatusItem {
    let (status, io) = match view.state {
        VolumeState::Available | VolumeState::Deleting => ("ok", "passed"),
        VolumeState::Creating => ("insufficient-data", "not-initialized"),
        VolumeState::Error => ("impaired", "failed"),
    };
    VolumeStatusItem {
        availability_zone: text(zone),
        events: view.end.iter().filter_map(|end| event(view.id, end)).collect(),
        volume_id: text(view.id),
        volume_status: Some(VolumeStatusInfo {
            details: vec![VolumeStatusDetails { name: fixed("io-enabled"), status: fixed(io) }],
            status: fixed(status),
        }),
    }
}

/// The warning of a volume that is deleted by itself. EC2 has no such event, and its types of events are open texts.
fn event(volume: VolumeId, end: &EndView) -> Option<VolumeStatusEvent> {
    let description = match end.state {
        EndState::Later => return None,
        EndState::Soon => "The volume is deleted at the end that was set for it",
        EndState::Overdue => "The volume is deleted as soon as nobody uses it: its end has come",
    };
    Some(VolumeStatusEvent {
        description: fixed(description),
        event_id: text(format!("e{volume}")),
        event_type: fixed("scheduled-deletion"),
        not_before: Some(end.not_before),
    })
}

fn shape(zone: &str, view: &VolumeView) -> Shape {
    let (iops, throughput) = figures(view.limits);
    Shape {
        attachments: view.attachments.iter().map(attachment).collect(),
        availability_zone: text(zone),
        create_time: Some(view.created_at),
        encrypted: Some(false),
        iops: Some(iops),
        multi_attach_enabled: Some(view.read_only),
        size: Some(view.size_gib.into()),
        snapshot_id: view.snapshot_id.map_or_else(|| fixed(""), text),
        state: fixed(state(view)),
        tags: shown_tags(&view.tags),
        throughput: Some(throughput),
        volume_id: text(view.id),
        volume_type: text(&view.class),
    }
}

/// A volume that has an attachment, in whatever state, is in use (EC2 API reference, "Volume").
fn state(view: &VolumeView) -> &'static str {
    match (view.state, view.attachments.is_empty()) {
        (VolumeState::Available, false) => "in-use",
        (state, _) => state.name(),
    }
}

fn attachment(view: &AttachmentView) -> VolumeAttachment {
    VolumeAttachment {
        attach_time: Some(view.since),
        delete_on_termination: Some(view.delete_on_termination),
        device: text(&view.device),
        instance_id: text(view.instance_id),
        state: fixed(view.state.name()),
        volume_id: text(view.volume_id),
    }
}
