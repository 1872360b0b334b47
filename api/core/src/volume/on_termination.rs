//! Whether the disks of an instance go with it.

use tepui_db::model::InstanceRecord;
use tepui_types::{InstanceId, VolumeId};

use super::attach::device_name;
use crate::failpoint::pass;
use crate::{Caller, Cloud, Error};

/// What is to become of one disk of an instance when that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskChange {
    /// The client's name of the disk, for example `/dev/sdf`.
    pub device: String,
    /// Only if it is this one.
    pub volume_id: Option<VolumeId>,
    /// The volume goes with the instance.
    pub delete_on_termination: bool,
}

impl Cloud {
    /// Says which disks go with their instance, of all that are named or of none. No host has to hear of it.
    ///
    /// # Errors
    /// `NotFound` for the instance; `InvalidInput` for a device that has no such disk, and for a root disk that is to
    /// stay.
    pub async fn modify_disks(
        &self,
        caller: &Caller,
        id: InstanceId,
        changes: &[DiskChange],
    ) -> Result<(), Error> {
        let record = self.instance(caller, id).await?.record;
        let mut checked = Vec::with_capacity(changes.len());
        for change in changes {
            checked.extend(wanted(&record, change)?);
        }
        pass("core::attribute::checked")?;
        self.commit(caller, "ModifyInstanceAttribute", id.to_string(), async {
            match self.db.set_delete_on_termination(caller.project, id, &checked).await? {
                None => Ok(()),
                Some(gone) => {
                    let change = checked.iter().zip(changes).find(|((volume, _), _)| *volume == gone);
                    Err(no_disk(change.map_or("", |(_, change)| &change.device)))
                }
            }
        })
        .await?;
        pass("core::attribute::committed").map(drop)
    }
}

/// The volume that is meant; `None` where nothing is to change.
fn wanted(record: &InstanceRecord, change: &DiskChange) -> Result<Option<(VolumeId, bool)>, Error> {
    let is_meant = |id| change.volume_id.is_none_or(|named| named == id);
    let root = record.root_volume.as_ref().filter(|root| root.device == change.device);
    if let Some(root) = root {
        return match change.delete_on_termination {
            true if is_meant(root.id) => Ok(None),
            true => Err(no_disk(&change.device)),
            false => {
                let rule = "must be true: a local root disk goes with its instance";
                Err(Error::invalid("delete_on_termination", false, rule))
            }
        };
    }
    let root = record.root_attachment().filter(|root| root.device == change.device);
    let device = root.map_or_else(|| device_name(&change.device), |root| Ok(root.device.clone()))?;
    let found = record.attachments.iter().find(|attachment| attachment.device == device);
    match found.filter(|attachment| is_meant(attachment.volume_id)) {
        Some(found) => Ok(Some((found.volume_id, change.delete_on_termination))),
        None => Err(no_disk(&device)),
    }
}

fn no_disk(device: &str) -> Error {
    Error::invalid("device", device, "is one at which the instance has a disk, and the volume that is named")
}
