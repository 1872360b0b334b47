//! `ModifyVolume` and `DescribeVolumesModifications`: volumes grow, have their limits changed, and are read-only for many
//! instances or not; nothing else of them can be changed.

use tepui_core::{Kind, ModificationState, ModificationView, ModifyVolume};

use super::volume::{figures, gib, limit};
use super::{fixed, text};
use crate::error::ApiError;
use crate::generated::{
    DescribeVolumesModificationsRequest, DescribeVolumesModificationsResult, ModifyVolumeRequest,
    ModifyVolumeResult, VolumeModification,
};
use crate::mechanism::{Field, apply, flag, one, parse_id, parse_ids};
use crate::operation::{Context, Handle};
use crate::wire::{Text, timestamp};

const FILTERS: &[Field<VolumeModification>] = &[
    ("modification-state", |m| one(&m.modification_state)),
    ("original-iops", |m| number(m.original_iops)),
    ("original-multi-attach-enabled", |m| flag(m.original_multi_attach_enabled)),
    ("original-size", |m| number(m.original_size)),
    ("original-volume-type", |m| one(&m.original_volume_type)),
    ("start-time", |m| m.start_time.map(|time| timestamp(time).into()).into_iter().collect()),
    ("target-iops", |m| number(m.target_iops)),
    ("target-multi-attach-enabled", |m| flag(m.target_multi_attach_enabled)),
    ("target-size", |m| number(m.target_size)),
    ("target-volume-type", |m| one(&m.target_volume_type)),
    ("volume-id", |m| one(&m.volume_id)),
];

fn number(value: Option<i64>) -> Vec<Text> {
    value.map(|number| number.to_string().into()).into_iter().collect()
}

impl Handle for ModifyVolumeRequest {
    async fn handle(self, cx: &Context) -> Result<ModifyVolumeResult, ApiError> {
        let request = ModifyVolume {
            volume_id: parse_id(Kind::Volume, &self.volume_id)?,
            size_gib: self.size.map(|size| gib("Size", size)).transpose()?,
            class: self.volume_type.map(String::from),
            iops: self.iops.map(|asked| limit("Iops", asked)).transpose()?,
            throughput_mib: self.throughput.map(|asked| limit("Throughput", asked)).transpose()?,
            read_only: self.multi_attach_enabled,
        };
        let view = cx.cloud.modify_volume(&cx.caller, request).await?;
        Ok(ModifyVolumeResult { volume_modification: Some(shape(&view)) })
    }
}

impl Handle for DescribeVolumesModificationsRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeVolumesModificationsResult, ApiError> {
        let ids = parse_ids(Kind::Volume, &self.volume_ids)?;
        let mut shapes = Vec::new();
        for view in cx.cloud.volumes(&cx.caller, &ids).await? {
            match &view.modification {
                Some(modification) => shapes.push(shape(modification)),
                None if ids.is_empty() => {}
                None => {
                    let message = format!("The volume '{}' was never modified.", view.id);
                    return Err(ApiError::new("InvalidVolumeModification.NotFound", message));
                }
            }
        }
        let shapes = apply(&cx.filters, FILTERS, |_| &[], shapes)?;
        let (volumes_modifications, next_token) =
            cx.page.cut(shapes, |m| m.volume_id.clone().unwrap_or_default().into());
        Ok(DescribeVolumesModificationsResult { next_token, volumes_modifications })
    }
}

/// EC2's name, and how many percent are done: the volume's host is one half, its guest the other.
fn state(state: ModificationState) -> (&'static str, i64) {
    match state {
        ModificationState::Modifying => ("modifying", 0),
        ModificationState::Optimizing => ("optimizing", 50),
        ModificationState::Completed => ("completed", 100),
        ModificationState::Failed => ("failed", 0),
    }
}

fn shape(view: &ModificationView) -> VolumeModification {
    let (name, progress) = state(view.state);
    let failed = view.state == ModificationState::Failed;
    let (original_iops, original_throughput) = figures(view.original_limits);
    let (target_iops, target_throughput) = figures(view.target_limits);
    VolumeModification {
        end_time: view.ended_at,
        modification_state: fixed(name),
        original_iops: Some(original_iops),
        original_multi_attach_enabled: Some(view.original_read_only),
        original_size: Some(view.original_gib.into()),
        original_throughput: Some(original_throughput),
        original_volume_type: text(&view.class),
        progress: Some(progress),
        start_time: Some(view.started_at),
        status_message: failed.then(|| Text::new_static("the volume is lost")),
        target_iops: Some(target_iops),
        target_multi_attach_enabled: Some(view.target_read_only),
        target_size: Some(view.target_gib.into()),
        target_throughput: Some(target_throughput),
        target_volume_type: text(&view.class),
        volume_id: text(view.volume_id),
    }
}
