//! Instances.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ImageId, InstanceId, NetworkInterfaceId, NodeId, PlacementId, ReservationId, SecurityGroupId, SnapshotId,
    SubnetId, Timestamp, VolumeId, VpcId,
};

/// The state EC2 shows, in EC2's spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// On its way to running.
    Pending,
    /// The domain runs.
    Running,
    /// Asked to stop.
    Stopping,
    /// Off; disks and addresses are kept.
    Stopped,
    /// Asked to go.
    ShuttingDown,
    /// Gone; shown for an hour.
    Terminated,
}

/// Whether the state can be relied upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Its node reports it.
    Ok,
    /// Its node does not answer: the guest may well run.
    Unknown,
    /// Its node answers and says that it cannot start guests now.
    Impaired,
}

/// What a guest's own power-off means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShutdownBehavior {
    /// The instance stops.
    Stop,
    /// The instance is terminated.
    Terminate,
}

/// Launches instances. Everything but the image has a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunInstancesRequest {
    /// Image: id, name or prefix.
    pub image: String,
    /// Instance type, for example `t3.small`; `t3.micro` when absent. `tepui instance run` takes
    /// the smallest that fits when that does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// How many, at least 1; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// The tag `Name` of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Key pair: name, id or prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_pair: Option<String>,
    /// Base64 of at most 16 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// Security groups: names, ids or prefixes; the VPC's `default` when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Subnet: an id; the default one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// A wanted private address, for one instance only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_ip: Option<Ipv4Addr>,
    /// Whether each gets a public address; the subnet decides when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_ip: Option<bool>,
    /// Size of the root disk in GiB; the image's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_gib: Option<u32>,
    /// Class of the pool of a volume to boot from: the instance then starts wherever there is room. A disk of its node
    /// when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_class: Option<String>,
    /// Snapshot of which a volume to boot from is made, instead of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_snapshot: Option<SnapshotId>,
    /// Whether the root disk goes with the instance; it does when absent, and always where it is the node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_delete_on_termination: Option<bool>,
    /// Volumes that are made with each instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<LaunchVolume>,
    /// Size in GiB of an empty disk for files on the instance's node, made anew at each start after a stop; none when
    /// absent or 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch_gib: Option<u32>,
    /// Size in GiB of such a disk to swap to; none when absent or 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_gib: Option<u32>,
    /// Placement group: name, id or prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement_group: Option<String>,
    /// What a guest's own power-off means; it stops when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown_behavior: Option<ShutdownBehavior>,
    /// Tags of each instance.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// 1 to 64 characters; a repeat with the same token makes nothing new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}

/// A volume that is made with an instance and attached to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LaunchVolume {
    /// The disk's name, for example `/dev/sdf`.
    pub device: String,
    /// Its size in GiB; the snapshot's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_gib: Option<u32>,
    /// Class of its pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// What it holds when it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
    /// The volume goes with the instance.
    pub delete_on_termination: bool,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Instance {
    /// The id.
    pub id: InstanceId,
    /// The tag `Name`.
    pub name: Option<String>,
    /// The state EC2 shows.
    pub state: InstanceState,
    /// Why, for people.
    pub state_reason: Option<String>,
    /// When the state last changed.
    pub state_since: Timestamp,
    /// Whether the state can be relied upon.
    pub health: Health,
    /// What its node last said of it, for example `preparing: image 41 %`.
    pub observed: Option<String>,
    /// The call that made it.
    pub reservation_id: ReservationId,
    /// The image.
    pub image_id: ImageId,
    /// The image's name, while it is there.
    pub image_name: Option<String>,
    /// The user to log in as, while the image is there.
    pub login_user: Option<String>,
    /// Instance type.
    pub instance_type: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Name of the key pair.
    pub key_name: Option<String>,
    /// Its address in the subnet.
    pub private_ip: Option<Ipv4Addr>,
    /// Its 1:1 public address.
    pub public_ip: Option<Ipv4Addr>,
    /// Its interface.
    pub interface_id: Option<NetworkInterfaceId>,
    /// Security groups of its interface.
    pub group_ids: Vec<SecurityGroupId>,
    /// The VPC.
    pub vpc_id: VpcId,
    /// The subnet.
    pub subnet_id: SubnetId,
    /// It boots from a volume, and starts wherever there is room.
    pub boots_from_volume: bool,
    /// The root disk.
    pub root_volume_id: Option<VolumeId>,
    /// Size of the root disk in GiB.
    pub root_gib: Option<u32>,
    /// Size in GiB of its scratch disk, which is empty after each start that follows a stop.
    pub scratch_gib: Option<u32>,
    /// Size in GiB of its disk to swap to.
    pub swap_gib: Option<u32>,
    /// The incarnation, which names domain and disk.
    pub placement_id: Option<PlacementId>,
    /// Its node; for administrators only.
    pub node_id: Option<NodeId>,
    /// What a guest's own power-off means.
    pub shutdown_behavior: ShutdownBehavior,
    /// Terminate is refused.
    pub disable_api_termination: bool,
    /// Stop is refused.
    pub disable_api_stop: bool,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When it was launched or last started.
    pub launched_at: Timestamp,
}

/// Which instances to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListInstancesRequest {
    /// Those terminated within the last hour too.
    #[serde(default)]
    pub terminated: bool,
}

/// Changes attributes; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetInstanceRequest {
    /// Another type; only while stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// Base64 of at most 16 KiB, empty for none; only while stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// What a guest's own power-off means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown_behavior: Option<ShutdownBehavior>,
    /// Refuse Terminate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_api_termination: Option<bool>,
    /// Refuse Stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_api_stop: Option<bool>,
    /// The interface's groups: names, ids or prefixes; at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
}

/// How to stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopInstanceRequest {
    /// Pull the plug instead of asking the guest.
    #[serde(default)]
    pub force: bool,
}

/// How to read the console.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowConsoleRequest {
    /// Ask the node for its newest words instead of showing those it sent last.
    #[serde(default)]
    pub latest: bool,
}

/// The end of a serial console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsoleOutput {
    /// At most 64 KiB; bytes that are not UTF-8 are replaced.
    pub output: String,
    /// When the node sent it; `None` when nothing came yet.
    pub at: Option<Timestamp>,
}
