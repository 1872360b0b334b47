//! What the domain refuses, in EC2's words. The one place where a domain error gets a code and a
//! status (EC2 API reference, "Error codes for the Amazon EC2 API").

use tepui_core::{Error, Kind, Refused};

use crate::error::ApiError;

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self { refused: Refused::from(&error), ..Self::of(error) }
    }
}

impl ApiError {
    fn of(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::DryRunOk => Self::dry_run(),
            Error::InvalidInput { .. } => Self::new("InvalidParameterValue", message),
            Error::Malformed { kind, value } => {
                Self::new(malformed(kind), format!("Invalid id: \"{value}\""))
            }
            Error::NotFound { kind: Kind::Resource, id } => Self::new(not_found(kind_of(&id)), message),
            Error::NotFound { kind, .. } => Self::new(not_found(kind), message),
            Error::WrongState { id, .. } => Self::new(wrong_state(kind_of(&id)), message),
            Error::NotAttached { .. } => Self::new("IncorrectState", message),
            Error::Modifying { .. } => Self::new("IncorrectModificationState", message),
            Error::Protected { .. } | Error::RootDisk { .. } => Self::new("OperationNotPermitted", message),
            // 500, not 400: SDKs and auto-scalers try elsewhere or again on a server's fault only.
            Error::NoCapacity { .. } | Error::NodeFull { .. } => {
                Self::with_status(500, "InsufficientInstanceCapacity", message)
            }
            Error::PoolsFull { .. } => Self::with_status(500, "InsufficientVolumeCapacity", message),
            Error::QuotaExceeded { quota, .. } => Self::new(quota_code(quota), message),
            Error::LimitExceeded { what, .. } => Self::new(limit_code(what), message),
            Error::AlreadyExists { kind, .. } => Self::new(duplicate(kind), message),
            Error::DuplicateRule { .. } => Self::new("InvalidPermission.Duplicate", message),
            Error::RuleNotFound { .. } => Self::new("InvalidPermission.NotFound", message),
            Error::InUse { kind, .. } => Self::new(in_use(kind), message),
            Error::CannotDelete { .. } => Self::new("CannotDelete", message),
            Error::TokenMismatch { .. } => Self::new("IdempotentParameterMismatch", message),
            Error::InstancesTerminated { .. } => Self::new("IdempotentInstanceTerminated", message),
            Error::AddressInUse { .. } => Self::new("InvalidIPAddress.InUse", message),
            Error::PoolExhausted => Self::with_status(500, "InsufficientAddressCapacity", message),
            Error::SubnetFull { .. } => Self::new("InsufficientFreeAddressesInSubnet", message),
            Error::Forbidden { .. } => Self::with_status(403, "UnauthorizedOperation", message),
            Error::JoinRefused { .. } => Self::with_status(403, "UnauthorizedOperation", message),
            // 503: SDKs try again by themselves, and soon it is there.
            Error::Moving { .. } | Error::HoldsStill { .. } | Error::Unreadable { .. } => {
                Self::with_status(503, "Unavailable", message)
            }
            Error::Busy => Self::with_status(503, "RequestLimitExceeded", "Request limit exceeded."),
            Error::Unavailable { .. } => Self::with_status(503, "Unavailable", message),
            Error::Internal { .. } => Self::internal(),
        }
    }
}

/// What an id would name, by its prefix; only EC2's ids tell.
fn kind_of(id: &str) -> Kind {
    let Some((prefix, bits)) = id.rsplit_once('-') else { return Kind::Resource };
    if bits.is_empty() || !bits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Kind::Resource;
    }
    match prefix {
        "ami" => Kind::Image,
        "eni" => Kind::NetworkInterface,
        "i" => Kind::Instance,
        "import-ami" => Kind::ImportTask,
        "key" => Kind::KeyPair,
        "pg" => Kind::PlacementGroup,
        "sg" => Kind::SecurityGroup,
        "sgr" => Kind::SecurityGroupRule,
        "snap" => Kind::Snapshot,
        "subnet" => Kind::Subnet,
        "vol" => Kind::Volume,
        "vpc" => Kind::Vpc,
        _ => Kind::Resource,
    }
}

/// The code of an object that is not in the state that the call needs.
const fn wrong_state(kind: Kind) -> &'static str {
    match kind {
        Kind::Volume | Kind::Snapshot => "IncorrectState",
        Kind::Instance
        | Kind::Image
        | Kind::ImportTask
        | Kind::SnapshotSchedule
        | Kind::Pool
        | Kind::PoolClass
        | Kind::KeyPair
        | Kind::Vpc
        | Kind::Subnet
        | Kind::SecurityGroup
        | Kind::SecurityGroupRule
        | Kind::NetworkInterface
        | Kind::PlacementGroup
        | Kind::InstanceType
        | Kind::Zone
        | Kind::Project
        | Kind::User
        | Kind::AccessKey
        | Kind::Node
        | Kind::Resource => "IncorrectInstanceState",
    }
}

/// The code of an id that names nothing the caller can see.
const fn not_found(kind: Kind) -> &'static str {
    match kind {
        Kind::Instance => "InvalidInstanceID.NotFound",
        Kind::Image => "InvalidAMIID.NotFound",
        Kind::ImportTask => "InvalidConversionTaskId",
        Kind::Volume => "InvalidVolume.NotFound",
        Kind::Snapshot => "InvalidSnapshot.NotFound",
        Kind::PoolClass => "UnknownVolumeType",
        Kind::KeyPair => "InvalidKeyPair.NotFound",
        Kind::Vpc => "InvalidVpcID.NotFound",
        Kind::Subnet => "InvalidSubnetID.NotFound",
        Kind::SecurityGroup => "InvalidGroup.NotFound",
        Kind::SecurityGroupRule => "InvalidSecurityGroupRuleId.NotFound",
        Kind::NetworkInterface => "InvalidNetworkInterfaceID.NotFound",
        Kind::PlacementGroup => "InvalidPlacementGroup.Unknown",
        Kind::InstanceType => "InvalidInstanceType",
        Kind::Zone => "InvalidParameterValue",
        Kind::Project => "InvalidUserID.Malformed",
        Kind::SnapshotSchedule | Kind::Pool | Kind::User | Kind::AccessKey | Kind::Node | Kind::Resource => {
            "InvalidID"
        }
    }
}

/// The code of a text that is no id of its kind.
const fn malformed(kind: Kind) -> &'static str {
    match kind {
        Kind::Instance => "InvalidInstanceID.Malformed",
        Kind::Image => "InvalidAMIID.Malformed",
        Kind::ImportTask => "InvalidConversionTaskId.Malformed",
        Kind::Volume => "InvalidVolumeID.Malformed",
        Kind::Snapshot => "InvalidSnapshotID.Malformed",
        Kind::KeyPair => "InvalidKeyPair.Format",
        Kind::Vpc => "InvalidVpcID.Malformed",
        Kind::Subnet => "InvalidSubnetID.Malformed",
        Kind::SecurityGroup => "InvalidGroupId.Malformed",
        Kind::SecurityGroupRule => "InvalidSecurityGroupRuleId.Malformed",
        Kind::NetworkInterface => "InvalidNetworkInterfaceId.Malformed",
        Kind::SnapshotSchedule
        | Kind::Pool
        | Kind::PoolClass
        | Kind::PlacementGroup
        | Kind::InstanceType
        | Kind::Zone
        | Kind::Project
        | Kind::User
        | Kind::AccessKey
        | Kind::Node
        | Kind::Resource => "InvalidParameterValue",
    }
}

/// The code of a name that is taken.
const fn duplicate(kind: Kind) -> &'static str {
    match kind {
        Kind::Image | Kind::ImportTask => "InvalidAMIName.Duplicate",
        Kind::KeyPair => "InvalidKeyPair.Duplicate",
        Kind::SecurityGroup => "InvalidGroup.Duplicate",
        Kind::PlacementGroup => "InvalidPlacementGroup.Duplicate",
        Kind::Instance
        | Kind::Volume
        | Kind::Snapshot
        | Kind::SnapshotSchedule
        | Kind::Pool
        | Kind::PoolClass
        | Kind::Vpc
        | Kind::Subnet
        | Kind::SecurityGroupRule
        | Kind::NetworkInterface
        | Kind::InstanceType
        | Kind::Zone
        | Kind::Project
        | Kind::User
        | Kind::AccessKey
        | Kind::Node
        | Kind::Resource => "InvalidParameterValue",
    }
}

/// The code of an object that something still needs.
const fn in_use(kind: Kind) -> &'static str {
    match kind {
        Kind::PlacementGroup => "InvalidPlacementGroup.InUse",
        Kind::Volume => "VolumeInUse",
        Kind::Snapshot => "InvalidSnapshot.InUse",
        Kind::Instance
        | Kind::Image
        | Kind::ImportTask
        | Kind::SnapshotSchedule
        | Kind::Pool
        | Kind::PoolClass
        | Kind::KeyPair
        | Kind::Vpc
        | Kind::Subnet
        | Kind::SecurityGroup
        | Kind::SecurityGroupRule
        | Kind::NetworkInterface
        | Kind::InstanceType
        | Kind::Zone
        | Kind::Project
        | Kind::User
        | Kind::AccessKey
        | Kind::Node
        | Kind::Resource => "DependencyViolation",
    }
}

fn quota_code(quota: &str) -> &'static str {
    match quota {
        "instances" => "InstanceLimitExceeded",
        "volumes" | "volume_gib" => "VolumeLimitExceeded",
        _ => "VcpuLimitExceeded",
    }
}

fn limit_code(what: &str) -> &'static str {
    match what {
        "tags of a resource" => "TagLimitExceeded",
        "active imports of a project"
        | "projects that a snapshot is shared with"
        | "schedules of a project" => "ResourceCountExceeded",
        "volumes of an instance" | "instances of a read-only volume" => "AttachmentLimitExceeded",
        _ => "RulesPerSecurityGroupLimitExceeded",
    }
}
