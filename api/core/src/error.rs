//! Why a verb was refused or failed. Knows no HTTP and no EC2: each protocol translates at its rim.

use std::net::Ipv4Addr;

use tepui_db::DbError;

use crate::scheduler::Rejection;

/// The kind of an object, as messages name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A virtual machine.
    Instance,
    /// A bootable image.
    Image,
    /// One import of an image.
    ImportTask,
    /// A disk.
    Volume,
    /// What a volume held at one moment.
    Snapshot,
    /// A rule by which snapshots are taken.
    SnapshotSchedule,
    /// Storage that volumes are made in.
    Pool,
    /// What pools are asked for by.
    PoolClass,
    /// An SSH key pair.
    KeyPair,
    /// A virtual private cloud.
    Vpc,
    /// A range of a VPC.
    Subnet,
    /// A security group.
    SecurityGroup,
    /// A rule of a security group.
    SecurityGroupRule,
    /// A network interface.
    NetworkInterface,
    /// A placement group.
    PlacementGroup,
    /// An instance type.
    InstanceType,
    /// An availability zone.
    Zone,
    /// A project.
    Project,
    /// A user.
    User,
    /// An access key.
    AccessKey,
    /// A host.
    Node,
    /// Anything that can carry tags.
    Resource,
}

impl Kind {
    /// The words for people, for example `security group`.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Image => "image",
            Self::ImportTask => "import task",
            Self::Volume => "volume",
            Self::Snapshot => "snapshot",
            Self::SnapshotSchedule => "snapshot schedule",
            Self::Pool => "pool",
            Self::PoolClass => "pool class",
            Self::KeyPair => "key pair",
            Self::Vpc => "VPC",
            Self::Subnet => "subnet",
            Self::SecurityGroup => "security group",
            Self::SecurityGroupRule => "security group rule",
            Self::NetworkInterface => "network interface",
            Self::PlacementGroup => "placement group",
            Self::InstanceType => "instance type",
            Self::Zone => "availability zone",
            Self::Project => "project",
            Self::User => "user",
            Self::AccessKey => "access key",
            Self::Node => "node",
            Self::Resource => "resource",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.noun())
    }
}

/// Why a verb did not do what it was asked. Unless a variant says otherwise, nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The call was a rehearsal and would have been carried out.
    #[error("the request would have succeeded, but it asked for a dry run")]
    DryRunOk,
    /// A field is missing, out of range or contradicts another.
    #[error("{field} '{value}': {rule}")]
    InvalidInput {
        /// The field, in the domain's words, for example `user_data`.
        field: &'static str,
        /// The value as given, cut to a printable length; empty when it is missing.
        value: String,
        /// What is allowed.
        rule: String,
    },
    /// A text is not an id of this kind.
    #[error("'{value}' is not an id of kind {kind}")]
    Malformed {
        /// What the id should have named.
        kind: Kind,
        /// The text, cut to a printable length.
        value: String,
    },
    /// No such object, or another project's: the two look the same.
    #[error("the {kind} '{id}' does not exist")]
    NotFound {
        /// What was looked for.
        kind: Kind,
        /// Its id or name.
        id: String,
    },
    /// The object's state does not allow this.
    #[error("'{id}' is {state}; this needs {wanted}")]
    WrongState {
        /// The object.
        id: String,
        /// Its state, as EC2 spells it.
        state: String,
        /// The states that allow it.
        wanted: &'static str,
    },
    /// An attribute of the object forbids this until it is changed.
    #[error("'{id}' is protected by its attribute {attribute}")]
    Protected {
        /// The object.
        id: String,
        /// `disable_api_stop` or `disable_api_termination`.
        attribute: &'static str,
    },
    /// An instance's root disk stays with it until the instance ends.
    #[error("the root disk '{id}' cannot be {what}: {why}")]
    RootDisk {
        /// The volume.
        id: String,
        /// What cannot be done with it, for example `detached`.
        what: &'static str,
        /// Why, for example that it is local to the host of its instance.
        why: &'static str,
    },
    /// No node can hold it now.
    #[error("no node can hold {wanted}")]
    NoCapacity {
        /// What was to be placed, for example `2 vCPU, 4096 MiB, 8 GiB disk`.
        wanted: String,
        /// The nodes looked at, each with the first rule that it failed.
        why: Vec<Rejection>,
    },
    /// The node that holds the instance's disk has no room to start it.
    #[error("'{id}' cannot start: the node that holds its disk has no room")]
    NodeFull {
        /// The instance.
        id: String,
    },
    /// No pool of the class takes a new volume now.
    #[error("no pool of the class '{class}' has room and a host that answers")]
    PoolsFull {
        /// The class.
        class: String,
    },
    /// The volume is not where it was named to be.
    #[error("'{id}' is not attached as the request says")]
    NotAttached {
        /// The volume.
        id: String,
    },
    /// The volume's last modification has not ended.
    #[error("'{id}' is still being modified as it was asked for last")]
    Modifying {
        /// The volume.
        id: String,
    },
    /// The volume is between two pools for a moment; try again.
    #[error("'{id}' is on its way to another pool, which takes a moment")]
    Moving {
        /// The volume.
        id: String,
    },
    /// The instance holds still for other snapshots, for a moment; try again.
    #[error("the instance of '{id}' holds still for other snapshots, which takes a moment")]
    HoldsStill {
        /// The volume.
        id: String,
    },
    /// The project's quota is used up.
    #[error("quota {quota}: {used} of {limit} used, {asked} more asked for")]
    QuotaExceeded {
        /// `instances`, `vcpus` or `memory_mib`.
        quota: &'static str,
        /// Its limit.
        limit: u64,
        /// What is taken.
        used: u64,
        /// What was asked for on top.
        asked: u64,
    },
    /// A fixed limit of the cloud.
    #[error("{what}: at most {limit}")]
    LimitExceeded {
        /// What is limited, for example `rules of a security group`.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// The name is taken.
    #[error("the {kind} '{name}' exists already as {id}")]
    AlreadyExists {
        /// What it is.
        kind: Kind,
        /// The name.
        name: String,
        /// The object that has it.
        id: String,
    },
    /// The group has this rule already.
    #[error("the rule {rule} is in the group already")]
    DuplicateRule {
        /// The rule, for people.
        rule: String,
    },
    /// The group has no such rule.
    #[error("the rule {rule} is not in the group")]
    RuleNotFound {
        /// The rule, for people.
        rule: String,
    },
    /// Something still needs the object.
    #[error("the {kind} '{id}' is in use by {by}")]
    InUse {
        /// What it is.
        kind: Kind,
        /// The object.
        id: String,
        /// What needs it.
        by: String,
    },
    /// The object is one that always exists, such as the group `default`.
    #[error("the {kind} '{id}' cannot be deleted")]
    CannotDelete {
        /// What it is.
        kind: Kind,
        /// The object.
        id: String,
    },
    /// The idempotency token was used with other parameters.
    #[error("the client token '{token}' was used with other parameters")]
    TokenMismatch {
        /// The token.
        token: String,
    },
    /// The idempotency token's instances were terminated, and nothing of them is known any more.
    #[error("the instances that the client token '{token}' made are terminated; take a new token")]
    InstancesTerminated {
        /// The token.
        token: String,
    },
    /// The wanted private address is taken.
    #[error("the address {address} is in use")]
    AddressInUse {
        /// The address.
        address: Ipv4Addr,
    },
    /// No free address in the operator's public pool, or there is no pool.
    #[error("no public address is free")]
    PoolExhausted,
    /// No free private address.
    #[error("no address is free in subnet '{id}'")]
    SubnetFull {
        /// The subnet.
        id: String,
    },
    /// The caller's role does not allow this.
    #[error("this needs the role {needs}")]
    Forbidden {
        /// The role.
        needs: &'static str,
    },
    /// A join token was refused.
    #[error("join token refused: {why}")]
    JoinRefused {
        /// A short name of why.
        reason: &'static str,
        /// Why, for the host's operator.
        why: String,
    },
    /// What the object holds does not come from its host.
    #[error("'{id}' cannot be read now: {why}")]
    Unreadable {
        /// The object.
        id: String,
        /// Why, for example that its host does not answer.
        why: &'static str,
    },
    /// Too much work at once; try again later.
    #[error("the cloud is busy")]
    Busy,
    /// A part of the cloud does not answer; the change may or may not have been made.
    #[error("the cloud's store does not answer")]
    Unavailable {
        /// For the log only.
        #[source]
        source: DbError,
    },
    /// A fault of the cloud's. Logged when it was made; not for users.
    #[error("internal error")]
    Internal {
        /// For the log only.
        what: String,
    },
}

impl Error {
    /// An unknown or foreign object.
    pub fn not_found(kind: Kind, id: impl ToString) -> Self {
        Self::NotFound { kind, id: id.to_string() }
    }

    pub(crate) fn local_root(id: impl ToString, what: &'static str) -> Self {
        Self::RootDisk { id: id.to_string(), what, why: "it is local to the host of its instance" }
    }

    /// A refused field.
    pub fn invalid(field: &'static str, value: impl ToString, rule: impl Into<String>) -> Self {
        let value = value.to_string().chars().take(128).collect();
        Self::InvalidInput { field, value, rule: rule.into() }
    }

    /// A bug of ours; writes the one log line it gets.
    pub(crate) fn internal(what: impl ToString) -> Self {
        let what = what.to_string();
        tracing::error!(what, "internal error");
        Self::Internal { what }
    }

    /// The id or name of the object that it is about, where it is about one.
    pub(crate) fn object(&self) -> Option<&str> {
        match self {
            Self::NotFound { id, .. }
            | Self::WrongState { id, .. }
            | Self::Protected { id, .. }
            | Self::RootDisk { id, .. }
            | Self::NodeFull { id }
            | Self::NotAttached { id }
            | Self::Modifying { id }
            | Self::Moving { id }
            | Self::HoldsStill { id }
            | Self::AlreadyExists { id, .. }
            | Self::InUse { id, .. }
            | Self::CannotDelete { id, .. }
            | Self::Unreadable { id, .. }
            | Self::SubnetFull { id } => Some(id),
            Self::DryRunOk
            | Self::InvalidInput { .. }
            | Self::Malformed { .. }
            | Self::NoCapacity { .. }
            | Self::PoolsFull { .. }
            | Self::QuotaExceeded { .. }
            | Self::LimitExceeded { .. }
            | Self::DuplicateRule { .. }
            | Self::RuleNotFound { .. }
            | Self::TokenMismatch { .. }
            | Self::InstancesTerminated { .. }
            | Self::AddressInUse { .. }
            | Self::PoolExhausted
            | Self::Forbidden { .. }
            | Self::JoinRefused { .. }
            | Self::Busy
            | Self::Unavailable { .. }
            | Self::Internal { .. } => None,
        }
    }

    /// A short name for audit records and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::DryRunOk => "dry_run",
            Self::InvalidInput { .. } => "invalid_input",
            Self::Malformed { .. } => "malformed",
            Self::NotFound { .. } => "not_found",
            Self::WrongState { .. } => "wrong_state",
            Self::Protected { .. } => "protected",
            Self::RootDisk { .. } => "root_disk",
            Self::NoCapacity { .. } | Self::NodeFull { .. } => "no_capacity",
            Self::PoolsFull { .. } => "no_pool",
            Self::NotAttached { .. } => "not_attached",
            Self::Modifying { .. } => "modifying",
            Self::Moving { .. } => "moving",
            Self::HoldsStill { .. } => "holds_still",
            Self::QuotaExceeded { .. } => "quota_exceeded",
            Self::LimitExceeded { .. } => "limit_exceeded",
            Self::AlreadyExists { .. } => "already_exists",
            Self::DuplicateRule { .. } => "duplicate_rule",
            Self::RuleNotFound { .. } => "rule_not_found",
            Self::InUse { .. } => "in_use",
            Self::CannotDelete { .. } => "cannot_delete",
            Self::TokenMismatch { .. } => "token_mismatch",
            Self::InstancesTerminated { .. } => "instances_terminated",
            Self::AddressInUse { .. } => "address_in_use",
            Self::PoolExhausted => "pool_exhausted",
            Self::SubnetFull { .. } => "subnet_full",
            Self::Forbidden { .. } => "forbidden",
            Self::JoinRefused { reason, .. } => reason,
            Self::Unreadable { .. } => "unreadable",
            Self::Busy => "busy",
            Self::Unavailable { .. } => "unavailable",
            Self::Internal { .. } => "internal",
        }
    }
}

impl From<DbError> for Error {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Busy => Self::Busy,
            DbError::Full | DbError::Unavailable(_) | DbError::Damaged(_) => {
                Self::Unavailable { source: error }
            }
            DbError::Bug(_) => Self::internal(error),
        }
    }
}
