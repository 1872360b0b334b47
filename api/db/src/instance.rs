//! Instances.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tepui_types::{
    ExportId, InstanceId, NodeId, PlacementGroupId, PlacementId, ProjectId, ReservationId, SecurityGroupId,
    VolumeId,
};

use crate::model::{
    InstanceRecord, InstanceState, MetadataSettings, PlacementGroup, ShutdownBehavior, VolumeState,
};
use crate::{CreateOutcome, DbError, DeleteOutcome, Launch, LaunchNames, LaunchOutcome, LaunchParents};

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
    /// It boots from a volume, and the place that was chosen for it cannot be had, or was chosen for other volumes
    /// than it has now: choose again.
    Unplaced(InstanceId),
    /// One of its volumes is in this state, in which it cannot start.
    VolumeState(VolumeId, VolumeState),
    /// The project's quota; name, limit, used.
    QuotaExceeded(&'static str, u64, u64),
    /// The instance's VPC has no such group.
    GroupMissing(SecurityGroupId),
}

/// Starts stopped instances: on the nodes their root disks are on, or in a new place where they boot from a volume.
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
    /// As in [`Launch`].
    pub disk_overcommit: f64,
    /// Places for those that boot from a volume.
    pub places: Vec<NewPlace>,
}

/// A place for an instance that boots from a volume and starts: a new incarnation, with a new export of each of its
/// volumes.
#[derive(Clone, PartialEq, Eq)]
pub struct NewPlace {
    /// Which.
    pub instance_id: InstanceId,
    /// Names the incarnation.
    pub placement_id: PlacementId,
    /// Where.
    pub node_id: NodeId,
    /// For each of its volumes the new export, and the password of its account under the key file.
    pub exports: Vec<(VolumeId, ExportId, Vec<u8>)>,
}

/// Without the secrets.
impl std::fmt::Debug for NewPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewPlace")
            .field("instance_id", &self.instance_id)
            .field("placement_id", &self.placement_id)
            .field("node_id", &self.node_id)
            .finish_non_exhaustive()
    }
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
    /// What there is of the things a launch names, in one snapshot.
    async fn launch_parents(&self, project: ProjectId, names: LaunchNames) -> Result<LaunchParents, DbError>;

    /// Writes a launch: rows, capacity, quota, addresses, token, generations, in one transaction that
    /// checks each of them again.
    async fn launch(&self, launch: Launch, now: Timestamp) -> Result<LaunchOutcome, DbError>;

    /// A project's instances, in order of launch, then id. The records are shared with other readers.
    async fn instances(
        &self,
        project: ProjectId,
        filter: &InstanceFilter,
    ) -> Result<Vec<Arc<InstanceRecord>>, DbError>;

    /// Every instance of the cloud that is not terminated, for doctor.
    async fn all_instances(&self) -> Result<Vec<InstanceRecord>, DbError>;

    /// How many instances of the cloud are in each state, but for terminated ones.
    async fn instance_counts(&self) -> Result<Vec<(InstanceState, u64)>, DbError>;

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

    /// Changes attributes, all or none; `WrongState` where one needs a stopped instance.
    async fn change_attributes(
        &self,
        project: ProjectId,
        id: InstanceId,
        changes: &[AttributeChange],
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
