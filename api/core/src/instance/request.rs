//! One `RunInstances` as its protocol hands it over.

use std::net::Ipv4Addr;

use serde::{Serialize, Serializer};
use tepui_db::model::{MetadataSettings, ShutdownBehavior};
use tepui_types::agent::ScratchDisks;
use tepui_types::{ImageId, SecurityGroupId, SnapshotId, SubnetId};

use crate::Error;
use crate::limits::Tags;

/// One `RunInstances`. Its serialized form is what an idempotency token stands for, so that every
/// field counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunInstances {
    /// The image.
    pub image_id: ImageId,
    /// For example `t3.micro`.
    pub instance_type: String,
    /// Fewer are not wanted; at least 1.
    pub min_count: u32,
    /// As many as fit up to this; at least `min_count`.
    pub max_count: u32,
    /// Makes a repeat harmless: 1 to 64 characters.
    #[serde(skip)]
    pub client_token: Option<String>,
    /// Raw bytes, at most 16 KiB.
    pub user_data: Option<Vec<u8>>,
    /// Name of a key pair.
    pub key_name: Option<String>,
    /// Security groups by id.
    pub security_group_ids: Vec<SecurityGroupId>,
    /// Security groups by name; with the ids, the group `default` when there is neither.
    pub security_groups: Vec<String>,
    /// The subnet; the default one when it is not given.
    pub subnet_id: Option<SubnetId>,
    /// A wanted private address; only with one instance.
    pub private_ip: Option<Ipv4Addr>,
    /// Whether to take a public address; the subnet decides when it is not given.
    pub associate_public_ip: Option<bool>,
    /// The root disk.
    pub root_volume: RootVolumeRequest,
    /// Volumes that are made with each instance.
    // Left out where there is none, so that tokens of launches without volumes stand for what they stood for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<LaunchVolumeRequest>,
    /// Scratch and swap disk of each instance.
    #[serde(skip_serializing_if = "ScratchDisks::is_none")]
    pub scratch: ScratchDisks,
    /// Tags of the instances.
    pub instance_tags: Tags,
    /// Tags of the root disks and volumes.
    pub volume_tags: Tags,
    /// Tags of the network interfaces.
    pub interface_tags: Tags,
    /// What a guest's own power-off means.
    #[serde(serialize_with = "by_name")]
    pub shutdown_behavior: ShutdownBehavior,
    /// Refuse Terminate.
    pub disable_api_termination: bool,
    /// Refuse Stop.
    pub disable_api_stop: bool,
    /// How the guest reads its metadata.
    pub metadata: MetadataChange,
    /// Name of a placement group.
    pub placement_group: Option<String>,
    /// The availability zone; there is one.
    pub zone: Option<String>,
}

/// The root disk as it is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RootVolumeRequest {
    /// The device name; `/dev/sda1` when it is not given.
    pub device: Option<String>,
    /// At least the image's size, which is the default, rounded up.
    pub size_gib: Option<u32>,
    /// `false` is refused of a local root disk, which goes with its instance.
    pub delete_on_termination: Option<bool>,
    /// The class of the pool of a volume to boot from. What no pool has is not found, but for the class that local
    /// disks are shown with, which then means one.
    // Left out where they are not given, so that tokens stand for what they stood for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Operations a second that the guest may do with it; only of a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iops: Option<u32>,
    /// MiB a second; only of a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput_mib: Option<u32>,
    /// The snapshot of which a volume to boot from is made, instead of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<SnapshotId>,
}

/// A volume as it is asked for with an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LaunchVolumeRequest {
    /// The client's name of the disk, for example `/dev/sdf`; each once.
    pub device: String,
    /// In GiB; `None` takes the snapshot's.
    pub size_gib: Option<u32>,
    /// The class of the pool.
    pub class: Option<String>,
    /// Operations a second that the guest may do; `None` is no limit. Not said where it is none, as in requests before
    /// there were limits: a token outlives an upgrade.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iops: Option<u32>,
    /// MiB a second that the guest may read and write; `None` is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput_mib: Option<u32>,
    /// What it holds when it is new.
    pub snapshot_id: Option<SnapshotId>,
    /// It goes with the instance.
    pub delete_on_termination: bool,
}

/// Metadata settings of which some may be left as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MetadataChange {
    /// Whether the service answers at all; on at first.
    pub enabled: Option<bool>,
    /// Refuse requests without a session token; on at first.
    pub tokens_required: Option<bool>,
    /// 1 to 64; 1 at first.
    pub hop_limit: Option<u8>,
    /// Show the tags to the guest; off at first.
    pub tags_enabled: Option<bool>,
}

impl RunInstances {
    /// One instance of this image and type, everything else by default.
    pub fn new(image_id: ImageId, instance_type: impl Into<String>) -> Self {
        Self {
            image_id,
            instance_type: instance_type.into(),
            min_count: 1,
            max_count: 1,
            client_token: None,
            user_data: None,
            key_name: None,
            security_group_ids: Vec::new(),
            security_groups: Vec::new(),
            subnet_id: None,
            private_ip: None,
            associate_public_ip: None,
            root_volume: RootVolumeRequest::default(),
            volumes: Vec::new(),
            scratch: ScratchDisks::NONE,
            instance_tags: Tags::new(),
            volume_tags: Tags::new(),
            interface_tags: Tags::new(),
            shutdown_behavior: ShutdownBehavior::Stop,
            disable_api_termination: false,
            disable_api_stop: false,
            metadata: MetadataChange::default(),
            placement_group: None,
            zone: None,
        }
    }
}

impl MetadataChange {
    /// What a new instance has when nothing is said: session tokens required, as on AWS for current
    /// images.
    pub const INITIAL: MetadataSettings =
        MetadataSettings { enabled: true, tokens_required: true, hop_limit: 1, tags_enabled: false };

    /// The settings after this change.
    pub(crate) fn applied_to(self, old: MetadataSettings) -> Result<MetadataSettings, Error> {
        let hop_limit = self.hop_limit.unwrap_or(old.hop_limit);
        if !(1..=64).contains(&hop_limit) {
            return Err(Error::invalid("metadata hop_limit", hop_limit, "is 1 to 64"));
        }
        Ok(MetadataSettings {
            enabled: self.enabled.unwrap_or(old.enabled),
            tokens_required: self.tokens_required.unwrap_or(old.tokens_required),
            hop_limit,
            tags_enabled: self.tags_enabled.unwrap_or(old.tags_enabled),
        })
    }
}

fn by_name<S: Serializer>(behavior: &ShutdownBehavior, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match behavior {
        ShutdownBehavior::Stop => "stop",
        ShutdownBehavior::Terminate => "terminate",
    })
}
