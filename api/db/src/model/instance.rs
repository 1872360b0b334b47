//! Instances and their incarnations.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tepui_types::agent::ScratchDisks;
use tepui_types::{
    Digest, ImageId, InstanceId, NodeId, PlacementGroupId, PlacementId, ProjectId, ReservationId, SubnetId,
    VolumeId, VpcId,
};

use super::{Attachment, InstanceState, NetworkInterface};

/// Why an instance is where it is, as `stateReason` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateReason {
    /// For example `Client.UserInitiatedShutdown`.
    pub code: String,
    /// For people who see the instance. Says nothing of its host.
    pub message: String,
    /// For administrators: what the host said, for example paths and the hypervisor's words.
    pub detail: Option<String>,
}

/// What a guest's own power-off means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShutdownBehavior {
    /// The instance stops.
    Stop,
    /// The instance is terminated.
    Terminate,
}

/// How the guest reads its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MetadataSettings {
    /// Whether the service answers at all.
    pub enabled: bool,
    /// Refuse requests without a session token.
    pub tokens_required: bool,
    /// 1 to 64.
    pub hop_limit: u8,
    /// Show the tags to the guest.
    pub tags_enabled: bool,
}

/// What the user asked for and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The id.
    pub id: InstanceId,
    /// The owner.
    pub project_id: ProjectId,
    /// The call that made it.
    pub reservation_id: ReservationId,
    /// Which of the reservation's instances this is.
    pub launch_index: u32,
    /// The image.
    pub image_id: ImageId,
    /// Content of the image at launch.
    pub image_digest: Digest,
    /// Virtual size of the image at launch, in bytes.
    pub image_bytes: u64,
    /// For example `t3.micro`.
    pub instance_type: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Name of the key pair.
    pub key_name: Option<String>,
    /// The public key at launch; deleting the key pair does not change the guest.
    pub public_key: Option<String>,
    /// Raw bytes, at most 16 KiB.
    pub user_data: Option<Vec<u8>>,
    /// The VPC.
    pub vpc_id: VpcId,
    /// The subnet.
    pub subnet_id: SubnetId,
    /// The placement group.
    pub placement_group_id: Option<PlacementGroupId>,
    /// It boots from a volume, and not from a disk of its host: it has a place only while it is not stopped, and a
    /// new one each time that it starts.
    pub volume_root: bool,
    /// Its scratch and swap disk, on the host of each of its places. They take their place there also while the
    /// instance is stopped and keeps it.
    pub scratch: ScratchDisks,
    /// What a guest's own power-off means.
    pub shutdown_behavior: ShutdownBehavior,
    /// Terminate is refused.
    pub disable_api_termination: bool,
    /// Stop is refused.
    pub disable_api_stop: bool,
    /// How the guest reads its metadata.
    pub metadata: MetadataSettings,
    /// The state EC2 shows.
    pub state: InstanceState,
    /// Why.
    pub state_reason: Option<StateReason>,
    /// When the state last changed.
    pub state_since: Timestamp,
    /// Grows with each start.
    pub start_seq: u64,
    /// Grows with each reboot.
    pub reboot_seq: u64,
    /// The stop or terminate in progress does not ask the guest.
    pub force: bool,
    /// When it was launched or last started.
    pub launched_at: Timestamp,
}

/// One incarnation of an instance on one node. At most one of an instance is live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Names domain, disks and tap.
    pub id: PlacementId,
    /// The instance.
    pub instance_id: InstanceId,
    /// The node, for good.
    pub node_id: NodeId,
    /// What the agent last said, for people; `None` before its first word.
    pub observed: Option<String>,
    /// When the node confirmed that nothing is left, or an operator expunged it.
    pub gone_at: Option<Timestamp>,
}

/// A root disk that is local to its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootVolume {
    /// The id.
    pub id: VolumeId,
    /// The size.
    pub size_gib: u32,
    /// The device name the client gave or the image's default, for example `/dev/sda1`.
    pub device: String,
    /// Goes with the instance. Local root disks always do; `false` is refused at launch.
    pub delete_on_termination: bool,
    /// When it was created.
    pub created_at: Timestamp,
}

/// An instance with everything that `DescribeInstances` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRecord {
    /// The instance.
    pub instance: Instance,
    /// Its live incarnation; `None` once terminated, and while one that boots from a volume is stopped.
    pub placement: Option<Placement>,
    /// Its interface; `None` once terminated.
    pub interface: Option<NetworkInterface>,
    /// Its root disk where that is local to its host; `None` once terminated.
    pub root_volume: Option<RootVolume>,
    /// Its volumes, by device; that of the root first.
    pub attachments: Vec<Attachment>,
    /// Tags of the instance.
    pub tags: BTreeMap<String, String>,
}

impl InstanceRecord {
    /// The volume that it boots from; `None` of one with a local root disk.
    pub fn root_attachment(&self) -> Option<&Attachment> {
        self.attachments.iter().find(|attachment| attachment.is_root)
    }
}

/// How the members of a placement group are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlacementStrategy {
    /// Each on a node of its own, or not at all.
    Spread,
    /// Together on as few nodes as possible.
    Cluster,
}

/// A placement group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementGroup {
    /// The id.
    pub id: PlacementGroupId,
    /// The owner.
    pub project_id: ProjectId,
    /// Unique in the project.
    pub name: String,
    /// How.
    pub strategy: PlacementStrategy,
    /// When it was created.
    pub created_at: Timestamp,
}
