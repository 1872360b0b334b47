//! The block-device mappings of `RunInstances`: the root disk, and the volumes that are made with each instance.

use tepui_core::{
    Error, InstanceType, Kind, LaunchVolumeRequest, RootVolumeRequest, USUAL_IOPS, USUAL_THROUGHPUT_MIB,
};

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

/// The root disk and the others, in the order of the request, of an instance of this type.
pub(super) fn disks(
    mappings: Vec<BlockDeviceMapping>,
    kind: &InstanceType,
) -> Result<(RootVolumeRequest, Vec<LaunchVolumeRequest>), ApiError> {
    let (mut root, mut volumes) = (None, Vec::new());
    for BlockDeviceMapping { device_name, ebs, virtual_name } in mappings {
        let device = device_name.ok_or_else(|| ApiError::missing("BlockDeviceMapping.N.DeviceName"))?;
        // An empty text is none: clients send it where a template leaves the field blank.
        if let Some(name) = virtual_name.filter(|name| !name.is_empty()) {
            check_instance_store(&device, &name, ebs.as_ref(), kind)?;
        } else if device != ROOT_DEVICE {
            volumes.push(volume(device, ebs)?);
        } else if root.replace(root_volume(ebs.unwrap_or_default())?).is_some() {
            return Err(ApiError::new(INVALID, format!("The device name {ROOT_DEVICE} is mapped twice.")));
        }
    }
    Ok((root.unwrap_or_default(), volumes))
}

/// As on AWS the disk of a type with instance storage is there whether it is mapped or not (EC2 user guide, "Add instance
/// store volumes": a mapping of an NVMe one has no effect). A mapping that would have one, or names no disk, is refused.
fn check_instance_store(
    device: &Text,
    name: &Text,
    ebs: Option<&EbsBlockDevice>,
    kind: &InstanceType,
) -> Result<(), ApiError> {
    if ebs.is_some() {
        return Err(ApiError::combination("Give Ebs or VirtualName of a block device, not both."));
    }
    if name != "ephemeral0" || kind.storage_gb == 0 {
        let message = format!("Instances of type {} have no instance store volume '{name}'.", kind.name);
        return Err(ApiError::new(INVALID, message));
    }
    if !matches!(device.trim_start_matches("/dev/"), "sdb" | "xvdb" | "vdb") {
        let message = format!("The instance store volume ephemeral0 is /dev/sdb, not '{device}'.");
        return Err(ApiError::new(INVALID, message));
    }
    Ok(())
}

fn root_volume(ebs: EbsBlockDevice) -> Result<RootVolumeRequest, ApiError> {
    refuse_encrypted(&ebs)?;
    let snapshot = ebs.snapshot_id.filter(|id| !id.is_empty());
    Ok(RootVolumeRequest {
        device: Some(ROOT_DEVICE.into()),
        size_gib: ebs.volume_size.map(gib).transpose()?,
        delete_on_termination: ebs.delete_on_termination,
        class: ebs.volume_type.map(String::from),
        iops: unusual("Ebs.Iops", ebs.iops, USUAL_IOPS)?,
        throughput_mib: unusual("Ebs.Throughput", ebs.throughput, USUAL_THROUGHPUT_MIB)?,
        snapshot_id: snapshot.map(|id| parse_id(Kind::Snapshot, &id)).transpose()?,
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
        iops: unusual("Ebs.Iops", ebs.iops, USUAL_IOPS)?,
        throughput_mib: unusual("Ebs.Throughput", ebs.throughput, USUAL_THROUGHPUT_MIB)?,
        snapshot_id: snapshot.map(|id| parse_id(Kind::Snapshot, &id)).transpose()?,
        delete_on_termination: ebs.delete_on_termination.unwrap_or(true),
    })
}

/// A figure that stands for no limit is as good as none, also for the token of the launch.
fn unusual(parameter: &str, asked: Option<i64>, usual: u32) -> Result<Option<u32>, ApiError> {
    asked.filter(|asked| *asked != i64::from(usual)).map(|asked| limit(parameter, asked)).transpose()
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
