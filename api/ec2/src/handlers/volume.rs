//! Volumes: the root disks of instances.

use tepui_core::{Kind, VolumeView};

use super::{fixed, text};
use crate::error::ApiError;
use crate::generated::{DescribeVolumesRequest, DescribeVolumesResult, Volume as Shape, VolumeAttachment};
use crate::mechanism::{Field, apply, flag, many, one, parse_ids, shown_tags};
use crate::operation::{Context, Handle};
use crate::wire::{Text, timestamp};

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

fn shape(zone: &str, view: &VolumeView) -> Shape {
    let volume = &view.volume;
    Shape {
        attachments: vec![VolumeAttachment {
            attach_time: Some(view.attached_at),
            delete_on_termination: Some(volume.delete_on_termination),
            device: text(&volume.device),
            instance_id: text(view.instance_id),
            state: fixed("attached"),
            volume_id: text(volume.id),
        }],
        availability_zone: text(zone),
        create_time: Some(volume.created_at),
        encrypted: Some(false),
        // The figures every gp3 volume begins with; a local disk is not throttled at all.
        iops: Some(3000),
        multi_attach_enabled: Some(false),
        size: Some(volume.size_gib.into()),
        snapshot_id: fixed(""),
        state: fixed("in-use"),
        tags: shown_tags(&view.tags),
        throughput: Some(125),
        volume_id: text(volume.id),
        volume_type: fixed("gp3"),
    }
}
