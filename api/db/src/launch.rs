//! A launch: what it refers to, what it writes, and what came of it.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use tepui_types::agent::IoLimits;
use tepui_types::{
    ImageId, MacAddress, NetworkInterfaceId, NodeId, PlacementId, PoolId, ProjectId, ReservationId,
    SecurityGroupId, SnapshotId, SubnetId, VpcId,
};

use crate::NewAttachment;
use crate::model::{
    Attachment, AttachmentState, ExportState, Image, Instance, InstanceRecord, KeyPair, NetworkInterface,
    Placement, PlacementGroup, RootVolume, SnapshotState, Subnet, Volume,
};

/// An idempotency token as a call uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenUse {
    /// The client's token, 1 to 64 characters.
    pub token: String,
    /// Digest of the parameters the token stands for.
    pub parameters_sha256: [u8; 32],
}

/// What a launch names, as its caller named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchNames {
    /// The idempotency token.
    pub token: Option<String>,
    /// The image.
    pub image: ImageId,
    /// Name of the key pair.
    pub key: Option<String>,
    /// The subnet; `None` is the default one.
    pub subnet: Option<SubnetId>,
    /// Name of the placement group.
    pub placement_group: Option<String>,
}

/// What there is of the things a launch names, in one snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaunchParents {
    /// The reservation that the token made, with its parameters' digest.
    pub reservation: Option<(ReservationId, [u8; 32])>,
    /// The image, if the project may launch it.
    pub image: Option<Image>,
    /// The key pair.
    pub key: Option<KeyPair>,
    /// The subnet.
    pub subnet: Option<Subnet>,
    /// Every security group of the project, by id.
    pub groups: Vec<GroupName>,
    /// The placement group, and how many members each node has.
    pub placement_group: Option<(PlacementGroup, BTreeMap<NodeId, u32>)>,
}

/// A security group without its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupName {
    /// The id.
    pub id: SecurityGroupId,
    /// Its VPC.
    pub vpc_id: VpcId,
    /// Unique in the VPC.
    pub name: String,
}

/// The interface of an instance to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInterface {
    /// The id.
    pub id: NetworkInterfaceId,
    /// The address.
    pub mac: MacAddress,
    /// A wanted private address; `None` takes the lowest free one from the subnet's fifth on, as
    /// the first four and the last are reserved.
    pub private_ip: Option<Ipv4Addr>,
    /// Take the lowest free address of the pool.
    pub public_ip: bool,
    /// At least one.
    pub group_ids: Vec<SecurityGroupId>,
}

/// A volume that is made with its instance and attached to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchVolume {
    /// The row. Its state is `Creating`.
    pub volume: Volume,
    /// Its place in the instance.
    pub attachment: NewAttachment,
}

/// One instance to be, with the node the scheduler chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchInstance {
    /// The row. Its state is `Pending`.
    pub instance: Instance,
    /// Names the incarnation.
    pub placement_id: PlacementId,
    /// Where.
    pub node_id: NodeId,
    /// Its interface.
    pub interface: NewInterface,
    /// Its root disk where that is local; `None` where it boots from one of `volumes`.
    pub root_volume: Option<RootVolume>,
    /// Its volumes, each at a place of its own.
    pub volumes: Vec<LaunchVolume>,
}

/// One `RunInstances`.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// The owner.
    pub project_id: ProjectId,
    /// Makes a repeat harmless.
    pub token: Option<TokenUse>,
    /// The instances, all or none.
    pub instances: Vec<LaunchInstance>,
    /// Tags by the resource's id.
    pub tags: Vec<(String, String, String)>,
    /// The operator's pool of public addresses.
    pub public_pool: Option<Ipv4Net>,
    /// Virtual CPUs a node may give out for each of its own.
    pub vcpu_overcommit: f64,
    /// Memory a node may give out for each MiB of its own.
    pub memory_overcommit: f64,
    /// Virtual disk a node may give out for each GiB of its own.
    pub disk_overcommit: f64,
}

/// The addresses that a written interface got: the private one, and a public one if it asked for it.
pub type Addresses = (Ipv4Addr, Option<Ipv4Addr>);

impl Launch {
    /// The records that a launch wrote, whose interfaces got these addresses, in the same order. A
    /// read after it gives the same, so that nobody has to read what was just written.
    pub fn into_records(self, addresses: Vec<Addresses>) -> Vec<Arc<InstanceRecord>> {
        let mut tags: HashMap<String, BTreeMap<String, String>> = HashMap::new();
        for (resource, key, value) in self.tags {
            tags.entry(resource).or_default().insert(key, value);
        }
        let record = |(new, addresses): (LaunchInstance, Addresses)| {
            let tags = if tags.is_empty() { None } else { tags.remove(&new.instance.id.to_string()) };
            Arc::new(new.into_record(addresses, tags.unwrap_or_default()))
        };
        self.instances.into_iter().zip(addresses).map(record).collect()
    }
}

impl LaunchInstance {
    /// What its disks take of its node: that of the root where it is local, and the scratch disks.
    pub fn local_gib(&self) -> u64 {
        let root = self.root_volume.as_ref().map_or(0, |root| u64::from(root.size_gib));
        root + self.instance.scratch.total_gib()
    }

    fn into_record(
        self,
        (private_ip, public_ip): Addresses,
        tags: BTreeMap<String, String>,
    ) -> InstanceRecord {
        let Self { instance, placement_id, node_id, interface, root_volume, volumes } = self;
        let mut attachments: Vec<_> =
            volumes.into_iter().map(|new| new.into_attachment(placement_id)).collect();
        attachments.sort_by(|one, other| (!one.is_root, &one.device).cmp(&(!other.is_root, &other.device)));
        let placement =
            Placement { id: placement_id, instance_id: instance.id, node_id, observed: None, gone_at: None };
        let interface = NetworkInterface {
            id: interface.id,
            project_id: instance.project_id,
            vpc_id: instance.vpc_id,
            subnet_id: instance.subnet_id,
            instance_id: instance.id,
            mac: interface.mac,
            private_ip,
            public_ip,
            group_ids: interface.group_ids,
        };
        InstanceRecord {
            instance,
            placement: Some(placement),
            interface: Some(interface),
            root_volume,
            attachments,
            tags,
        }
    }
}

impl LaunchVolume {
    /// The row of its attachment.
    fn into_attachment(self, placement_id: PlacementId) -> Attachment {
        let Self { volume, attachment } = self;
        Attachment {
            id: attachment.id,
            volume_id: volume.id,
            instance_id: attachment.instance_id,
            device: attachment.device,
            delete_on_termination: attachment.delete_on_termination,
            state: AttachmentState::Attaching,
            since: volume.created_at,
            export_id: attachment.export_id,
            placement_id,
            wrapped_secret: attachment.wrapped_secret,
            export_state: ExportState::Making,
            source: None,
            message: None,
            size_gib: volume.actual_gib,
            guest_gib: 0,
            limits: volume.limits,
            guest_limits: IoLimits::NONE,
            is_root: attachment.is_root,
            read_only: volume.read_only,
        }
    }
}

/// What became of a launch. Everything but `Launched` and `Repeated` left nothing behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaunchOutcome {
    /// Done; these instances are durable, in the order in which they are listed.
    Launched(Vec<Arc<InstanceRecord>>),
    /// The token made this reservation before, with the same parameters.
    Repeated(ReservationId),
    /// The token stands for other parameters.
    TokenMismatch,
    /// The node filled up, was drained or lost since it was chosen: choose again.
    NodeLost(NodeId),
    /// A member of the placement group is on that node: choose again.
    AntiAffinity(NodeId),
    /// The pool of a volume was deleted or drained, its node given up, or it serves another node only: choose
    /// again.
    PoolLost(PoolId),
    /// There is no such snapshot in that pool that the project may use.
    SnapshotMissing(SnapshotId),
    /// The snapshot of a volume is in this state.
    SnapshotState(SnapshotId, SnapshotState),
    /// The project may have only so many of this (`instances`, `vcpus`, `memory_mib`, `volumes`, `volume_gib`).
    QuotaExceeded {
        /// Which quota.
        quota: &'static str,
        /// Its limit.
        limit: u64,
        /// What is taken already.
        used: u64,
    },
    /// The wanted private address is another interface's.
    AddressInUse(Ipv4Addr),
    /// Too few free private addresses in the subnet.
    SubnetFull {
        /// How many of the instances found one.
        fit: usize,
    },
    /// Too few free public addresses.
    PoolExhausted {
        /// How many of the instances found one.
        fit: usize,
    },
    /// An image, key, group or subnet it names was deleted meanwhile; the text names it.
    ParentMissing(String),
}
