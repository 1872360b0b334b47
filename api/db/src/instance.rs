//! Instances.

use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use ipnet::Ipv4Net;
use jiff::Timestamp;
use tepui_types::{
    InstanceId, MacAddress, NetworkInterfaceId, NodeId, PlacementGroupId, PlacementId, ProjectId,
    ReservationId, SecurityGroupId,
};

use crate::model::{
    Instance, InstanceRecord, InstanceState, MetadataSettings, PlacementGroup, RootVolume, ShutdownBehavior,
};
use crate::{CreateOutcome, DbError, DeleteOutcome};

/// An idempotency token as a call uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenUse {
    /// The client's token, 1 to 64 characters.
    pub token: String,
    /// Digest of the parameters the token stands for.
    pub parameters_sha256: [u8; 32],
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
    /// Its root disk.
    pub root_volume: RootVolume,
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

/// What became of a launch. Everything but `Launched` and `Repeated` left nothing behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaunchOutcome {
    /// Done; the reservation's instances are durable.
    Launched(ReservationId),
    /// The token made this reservation before, with the same parameters.
    Repeated(ReservationId),
    /// The token stands for other parameters.
    TokenMismatch,
    /// The node filled up, was drained or lost since it was chosen: choose again.
    NodeLost(NodeId),
    /// A member of the placement group is on that node: choose again.
    AntiAffinity(NodeId),
    /// The project may have only so many of this (`instances`, `vcpus`, `memory_mib`).
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

/// Which instances.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceFilter {
    /// Only these; empty means all.
    pub ids: Vec<InstanceId>,
    /// Only this reservation.
    pub reservation: Option<ReservationId>,
}

/// What to do to instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerChange {
    /// Off, disks kept.
    Stop {
        /// Do not ask the guest.
        force: bool,
    },
    /// Reset a running guest.
    Reboot,
    /// Gone for good.
    Terminate,
}

/// What became of a change of power. All or nothing over the instances of the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PowerOutcome {
    /// State before and after, in the order of the call.
    Changed(Vec<(InstanceId, InstanceState, InstanceState)>),
    /// The project has no such instance.
    NotFound(InstanceId),
    /// Not from this state.
    WrongState(InstanceId, InstanceState),
    /// `disable_api_stop` or `disable_api_termination` is set.
    Protected(InstanceId),
    /// Its node cannot hold it now.
    NoCapacity(InstanceId),
    /// The project's quota; name, limit, used.
    QuotaExceeded(&'static str, u64, u64),
    /// The instance's VPC has no such group.
    GroupMissing(SecurityGroupId),
}

/// Starts stopped instances on the nodes their disks are on.
#[derive(Debug, Clone, PartialEq)]
pub struct StartRequest {
    /// The owner.
    pub project_id: ProjectId,
    /// Which.
    pub ids: Vec<InstanceId>,
    /// As in [`Launch`].
    pub vcpu_overcommit: f64,
    /// As in [`Launch`].
    pub memory_overcommit: f64,
}

/// One change of an instance's attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttributeChange {
    /// Only while stopped: name, virtual CPUs, memory in MiB.
    InstanceType(String, u32, u64),
    /// Only while stopped.
    UserData(Option<Vec<u8>>),
    /// What a guest's own power-off means.
    ShutdownBehavior(ShutdownBehavior),
    /// Refuse Terminate.
    DisableApiTermination(bool),
    /// Refuse Stop.
    DisableApiStop(bool),
    /// The interface's groups; at least one.
    Groups(Vec<SecurityGroupId>),
    /// How the guest reads its metadata.
    Metadata(MetadataSettings),
}

/// Instances.
#[async_trait]
pub trait InstanceDb: Send + Sync {
    /// Writes a launch: rows, capacity, quota, addresses, token, generations, in one transaction that
    /// checks each of them again.
    async fn launch(&self, launch: &Launch, now: Timestamp) -> Result<LaunchOutcome, DbError>;

    /// The reservation that a token made, with its parameters' digest.
    async fn reservation_of_token(
        &self,
        project: ProjectId,
        token: &str,
    ) -> Result<Option<(ReservationId, [u8; 32])>, DbError>;

    /// A project's instances, in order of launch, then id. The records are shared with other readers.
    async fn instances(
        &self,
        project: ProjectId,
        filter: &InstanceFilter,
    ) -> Result<Vec<Arc<InstanceRecord>>, DbError>;

    /// Every instance of the cloud that is not terminated, for reconcilers and doctor.
    async fn all_instances(&self) -> Result<Vec<InstanceRecord>, DbError>;

    /// Stops, reboots or terminates. Asked again, it changes nothing and says so.
    async fn change_power(
        &self,
        project: ProjectId,
        ids: &[InstanceId],
        change: PowerChange,
        now: Timestamp,
    ) -> Result<PowerOutcome, DbError>;

    /// Starts. Already running ones are left as they are.
    async fn start(&self, request: &StartRequest, now: Timestamp) -> Result<PowerOutcome, DbError>;

    /// Changes an attribute; `WrongState` where it needs a stopped instance.
    async fn change_attribute(
        &self,
        project: ProjectId,
        id: InstanceId,
        change: &AttributeChange,
        now: Timestamp,
    ) -> Result<PowerOutcome, DbError>;

    /// Creates a placement group.
    async fn create_placement_group(
        &self,
        group: &PlacementGroup,
    ) -> Result<CreateOutcome<PlacementGroupId>, DbError>;

    /// A project's placement groups, by name.
    async fn placement_groups(&self, project: ProjectId) -> Result<Vec<PlacementGroup>, DbError>;

    /// Deletes a placement group without members.
    async fn delete_placement_group(
        &self,
        project: ProjectId,
        id: PlacementGroupId,
    ) -> Result<DeleteOutcome, DbError>;
}
