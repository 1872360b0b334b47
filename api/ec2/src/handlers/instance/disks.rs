//! The block-device mappings of `RunInstances`: the root disk, and the volumes that are made with each instance.

use tepui_core::{Error, Kind, LaunchVolumeRequest, RootVolumeRequest, USUAL_IOPS, USUAL_THROUGHPUT_MIB};

use crate::error::ApiError;
use crate::generated::{BlockDeviceMapping, EbsBlockDevice};
use crate::handlers::image::ROOT_DEVICE;
use crate::handlers::volume::limit;
use crate::mechanism::parse_id;
use crate::wire::Text;

/// The code of a device name or a size that a disk cannot have.
const INVALID: &str = "InvalidBlockDeviceMapping";

/// The refusal of a launch: what is wrong with its disks has a code of its own.
pub(super) fn refusal(error: Error) -> ApiError {
    match error {
        Error::InvalidInput { field: "device" | "size" | "root volume size", .. } => {
            ApiError { code: INVALID.into(), ..error.into() }
        }
        other => other.into(),
    }
}

/// The root disk and the others, in the order of the request.
pub(super) fn disks(
    mappings: Vec<BlockDeviceMapping>,
) -> Result<(RootVolumeRequest, Vec<LaunchVolumeRequest>), ApiError> {
    let (mut root, mut volumes) = (None, Vec::new());
    for BlockDeviceMapping { device_name, ebs } in mappings {
        let device = device_name.ok_or_else(|| ApiError::missing("BlockDeviceMapping.N.DeviceName"))?;
        if device != ROOT_DEVICE {
            volumes.push(volume(device, ebs)?);
        } else if root.replace(root_volume(ebs.unwrap_or_default())?).is_some() {
            return Err(ApiError::new(INVALID, format!("The device name {ROOT_DEVICE} is mapped twice.")));
        }
    }
    Ok((root.unwrap_or_default(), volumes))
}

fn root_volume(ebs: EbsBlockDevice) -> Result<RootVolumeRequest, ApiError> {
    refuse_encrypted(&ebs)?;
    if let Some(other) = ebs.volume_type.as_deref().filter(|kind| *kind != "gp3") {
        let message = format!("The volume type {other} is not supported for root disks; it is gp3 here.");
        return Err(ApiError::unsupported(message));
    }
    refuse_limits(&ebs)?;
    if ebs.snapshot_id.is_some_and(|id| !id.is_empty()) {
        return Err(ApiError::unsupported("A root disk is made from its image, not from a snapshot."));
    }
    Ok(RootVolumeRequest {
        device: Some(ROOT_DEVICE.into()),
        size_gib: ebs.volume_size.map(gib).transpose()?,
        delete_on_termination: ebs.delete_on_termination,
    })
}

/// As on AWS, a volume that is made with an instance goes with it unless the request says otherwise (EC2 API
/// reference, "EbsBlockDevice").
fn volume(device: Text, ebs: Option<EbsBlockDevice>) -> Result<LaunchVolumeRequest, ApiError> {
    let ebs = ebs.ok_or_else(|| ApiError::missing("BlockDeviceMapping.N.Ebs"))?;
    refuse_encrypted(&ebs)?;
    // An empty text is none: clients send it where a template leaves the field blank.
    let snapshot = ebs.snapshot_id.filter(|id| !id.is_empty());
    if snapshot.is_none() && ebs.volume_size.is_none() {
        let message = "The request must contain the parameter size or snapshotId";
        return Err(ApiError::new("MissingParameter", message));
    }
    Ok(LaunchVolumeRequest {
        device: device.into(),
        size_gib: ebs.volume_size.map(gib).transpose()?,
        class: ebs.volume_type.map(String::from),
        iops: ebs.iops.map(|asked| limit("Ebs.Iops", asked)).transpose()?,
        throughput_mib: ebs.throughput.map(|asked| limit("Ebs.Throughput", asked)).transpose()?,
        snapshot_id: snapshot.map(|id| parse_id(Kind::Snapshot, &id)).transpose()?,
        delete_on_termination: ebs.delete_on_termination.unwrap_or(true),
    })
}

/// The figures that stand for no limit pass: clients send them without being asked.
fn refuse_limits(root: &EbsBlockDevice) -> Result<(), ApiError> {
    let is_usual = |asked: Option<i64>, usual: u32| asked.is_none_or(|asked| asked == i64::from(usual));
    match is_usual(root.iops, USUAL_IOPS) && is_usual(root.throughput, USUAL_THROUGHPUT_MIB) {
        true => Ok(()),
        false => {
            let message = format!(
                "A root disk has no limits here: Iops is {USUAL_IOPS} and Throughput {USUAL_THROUGHPUT_MIB}, which \
                 stand for none."
            );
            Err(ApiError::unsupported(message))
        }
    }
}

fn gib(size: i64) -> Result<u32, ApiError> {
    let message =
        || format!("Value ({size}) for parameter Ebs.VolumeSize is invalid. It is a number of GiB.");
    u32::try_from(size).map_err(|_| ApiError::new(INVALID, message()))
}

fn refuse_encrypted(ebs: &EbsBlockDevice) -> Result<(), ApiError> {
    match ebs.encrypted {
        Some(true) => Err(ApiError::unsupported("Encrypted disks are not supported by this cloud.")),
        Some(false) | None => Ok(()),
    }
}
