//! Volumes: today the root disks of instances.

use std::collections::BTreeMap;

use tepui_db::InstanceFilter;
use tepui_db::model::RootVolume;
use tepui_types::{InstanceId, Timestamp, VolumeId};

use crate::{Caller, Cloud, Error, Kind};

/// A root disk as `DescribeVolumes` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeView {
    /// The disk.
    pub volume: RootVolume,
    /// The instance it belongs to.
    pub instance_id: InstanceId,
    /// When that was launched, which is when the disk was attached.
    pub attached_at: Timestamp,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl Cloud {
    /// The caller's volumes, by id: these, or all when `ids` is empty.
    ///
    /// # Errors
    /// `NotFound` for the first id that is unknown or foreign.
    pub async fn volumes(&self, caller: &Caller, ids: &[VolumeId]) -> Result<Vec<VolumeView>, Error> {
        let filter = InstanceFilter::default();
        let (records, mut tags) =
            futures::try_join!(self.db.instances(caller.project, &filter), self.db.tags(caller.project))?;
        let view = |(volume, instance_id): (RootVolume, InstanceId)| VolumeView {
            tags: tags.remove(&volume.id.to_string()).unwrap_or_default(),
            instance_id,
            attached_at: volume.created_at,
            volume,
        };
        let rows = records.iter().filter_map(|r| r.root_volume.clone().map(|volume| (volume, r.instance.id)));
        let mut volumes: Vec<VolumeView> = rows.map(view).collect();
        if let Some(missing) = ids.iter().find(|id| !volumes.iter().any(|v| v.volume.id == **id)) {
            return Err(Error::not_found(Kind::Volume, missing));
        }
        volumes.retain(|v| ids.is_empty() || ids.contains(&v.volume.id));
        volumes.sort_by_key(|v| v.volume.id);
        Ok(volumes)
    }
}
