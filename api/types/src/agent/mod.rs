//! What an agent and the control plane say to each other.
//!
//! The agent pulls: it names the parts of the desired state that it has, the control plane answers
//! with those that changed ([`poll`]), the agent makes the host so and reports what it sees
//! ([`observed`]). There are no commands; an action such as a reboot is a counter in a part.

mod disk;
mod endpoints;
mod enrol;
mod freeze;
mod io;
mod leftover;
mod node_part;
mod observed;
mod poll;
mod scratch;
mod sending;
mod shared_part;
mod snapshot_test;
mod stall;
mod storage_part;
mod vpc_part;

pub use disk::{
    DiskObserved, DiskPart, DiskSpec, DiskState, VolumeSource, WantedDisk, iscsi_account, iscsi_initiator,
};
pub use endpoints::{
    AGENT_PATHS, CONSOLE_PATH, CONTENT_PATH, ENROL_PATH, IMAGE_PATH, POLL_PATH, RENEW_PATH, REPORT_PATH,
    SENDING_PATH,
};
pub use enrol::{EnrolReply, EnrolRequest, NodeCapacity, RenewReply, RenewRequest};
pub use freeze::{FreezeKind, FreezeObserved, FreezePart, FreezeState, WantedFreeze};
pub use io::{DiskIo, IoCounters, IoLimits};
pub use leftover::{Leftover, LeftoverKind, MOST_LEFTOVERS, StoredId, WantedUnlink};
pub use node_part::{
    InstanceMetadata, MetadataBlockDevice, MetadataInterface, MetadataOptions, NodePart, PlacementPart,
    PlacementSpec, Power, RootDisk, WantedPlacement,
};
pub use observed::{
    HostFinding, NodeObserved, NodeUsage, OffReason, PlacementObserved, PlacementState, RefusedPart, Report,
    ReportReply,
};
pub use poll::{HavePart, Part, PartBody, PartKey, PollReply, PollRequest};
pub use scratch::{ScratchDisks, ScratchKind};
pub use sending::WantedSending;
pub use shared_part::SharedPart;
pub use snapshot_test::{TestObserved, TestOutcome, WantedTest};
pub use stall::{DiskFailure, StalledDisk};
pub use storage_part::{
    ExportObserved, ExportPart, ExportState, PoolBackend, PoolObserved, PoolPart, PoolState, SnapshotImage,
    SnapshotObserved, SnapshotPart, SnapshotSource, StorageObserved, StoragePart, StoredState, VolumeImage,
    VolumeObserved, VolumePart, WantedExport, WantedSnapshot, WantedVolume,
};
pub use vpc_part::{
    Direction, FirewallRule, Peer, PortRange, Protocol, SecurityGroupPart, SubnetPart, VpcNode, VpcPart,
    VpcPort,
};
