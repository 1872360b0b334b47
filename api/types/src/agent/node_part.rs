//! The node's own part: what runs on it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ScratchDisks, WantedDisk, WantedFreeze};
use crate::{
    Digest, ImageId, InstanceId, MacAddress, NetworkInterfaceId, PlacementId, ProjectId, ReservationId,
    SecurityGroupId, SubnetId, VolumeId, VpcId,
};

/// Every placement the node must have or must no longer have. One it does not name is left as it is
/// and reported as unknown: only [`PlacementPart::Absent`] removes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodePart {
    /// In order of their ids.
    pub placements: Vec<WantedPlacement>,
}

/// One placement and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedPlacement {
    /// Names the domain, the disks and the tap.
    pub id: PlacementId,
    /// Present or absent.
    pub wanted: PlacementPart,
}

/// Present or absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum PlacementPart {
    /// The placement must exist, in this power state.
    Present(Box<PlacementSpec>),
    /// Domain, tap and disks must be gone. The only order that removes anything. `force` ends a
    /// guest that does not shut down by itself within the grace time at once.
    Absent {
        /// Do not ask the guest first.
        force: bool,
    },
}

/// The wanted power state. The counters make actions repeatable: the agent acts when a counter is
/// higher than the one in its ledger, and a guest that powered itself off stays off until
/// `start_seq` grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Power {
    /// The guest runs.
    Running {
        /// Grows with each start that the user asks for; 1 for the first.
        start_seq: u64,
        /// Grows with each reboot that the user asks for.
        reboot_seq: u64,
    },
    /// The guest is off; its disks stay.
    Stopped {
        /// Pull the plug instead of asking the guest.
        force: bool,
    },
}

/// Everything a node needs to run one placement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacementSpec {
    /// The instance this is an incarnation of.
    pub instance_id: InstanceId,
    /// The instance's owner.
    pub project_id: ProjectId,
    /// The wanted power state.
    pub power: Power,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Guest memory in MiB.
    pub memory_mib: u64,
    /// Its root disk where that is local; `None` where it boots from the one of `disks` that is the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_disk: Option<RootDisk>,
    /// Its volumes, by export. A domain has none that is not named here.
    #[serde(default)]
    pub disks: Vec<WantedDisk>,
    /// Its scratch and swap disk, which are made anew at each start that follows a stop. They are the same for the
    /// whole life of an instance.
    #[serde(default, skip_serializing_if = "ScratchDisks::is_none")]
    pub scratch: ScratchDisks,
    /// It is to hold still, or was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<WantedFreeze>,
    /// What the metadata service shows to the guest.
    pub metadata: InstanceMetadata,
    /// User data as the guest reads it: base64 here, raw bytes in the metadata service.
    pub user_data: Option<String>,
}

/// A copy-on-write disk on a cached image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootDisk {
    /// Also the disk's serial, without the hyphen, as on AWS.
    pub volume_id: VolumeId,
    /// The image's content.
    pub image_digest: Digest,
    /// Virtual size of the image in bytes.
    pub image_bytes: u64,
    /// Virtual size of the disk in bytes; at least `image_bytes`.
    pub size_bytes: u64,
}

/// How the guest may read its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetadataOptions {
    /// Off answers 403 to everything.
    pub enabled: bool,
    /// Refuse requests without a session token (IMDSv2).
    pub tokens_required: bool,
    /// IP time to live of token replies; 1 keeps the token on the guest.
    pub hop_limit: u8,
    /// Show the instance's tags.
    pub tags_enabled: bool,
}

/// What the metadata service shows to the guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceMetadata {
    /// Access rules.
    pub options: MetadataOptions,
    /// The image the root disk was made from.
    pub image_id: ImageId,
    /// For example `t3.micro`.
    pub instance_type: String,
    /// Which of the reservation's instances this is.
    pub launch_index: u32,
    /// The call that made it.
    pub reservation_id: ReservationId,
    /// When it was launched.
    pub launched_at: Timestamp,
    /// For example `tepui-1a`.
    pub availability_zone: String,
    /// For example `tepui-1`.
    pub region: String,
    /// For example `ip-172-31-0-10.tepui-1.compute.internal`.
    pub local_hostname: String,
    /// OpenSSH public keys by name.
    pub public_keys: BTreeMap<String, String>,
    /// Names of the security groups.
    pub security_groups: Vec<String>,
    /// The interfaces; the first is the primary one.
    pub interfaces: Vec<MetadataInterface>,
    /// Block devices by their virtual name (`ami`, `root`, `ephemeral0`, `swap`, `ebs1`).
    pub block_devices: Vec<MetadataBlockDevice>,
    /// Tags of the instance.
    pub tags: BTreeMap<String, String>,
    /// `dynamic/instance-identity/document`, as signed.
    pub identity_document: String,
    /// Base64 signature of the document by the cloud's identity key.
    pub identity_signature: String,
}

/// A name under `meta-data/block-device-mapping`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetadataBlockDevice {
    /// For example `ami`, `root` or `ebs1`.
    pub name: String,
    /// For example `/dev/vda`, or `sdf` as it was attached.
    pub device: String,
}

/// An interface as the metadata service shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetadataInterface {
    /// The interface.
    pub id: NetworkInterfaceId,
    /// Its MAC address.
    pub mac: MacAddress,
    /// Its address in the subnet.
    pub private_ip: Ipv4Addr,
    /// Its 1:1 public address.
    pub public_ip: Option<Ipv4Addr>,
    /// The subnet.
    pub subnet_id: SubnetId,
    /// The subnet's range.
    pub subnet_cidr: ipnet::Ipv4Net,
    /// The VPC; the node must hold its part before the placement can start.
    pub vpc_id: VpcId,
    /// The VPC's range.
    pub vpc_cidr: ipnet::Ipv4Net,
    /// Ids of the security groups, in the order of `InstanceMetadata::security_groups`.
    pub security_group_ids: Vec<SecurityGroupId>,
}
