//! What the store holds, as the domain sees it.

mod freeze;
mod identity;
mod image;
mod instance;
mod key_pair;
mod lifecycle;
mod network;
mod node;
mod quarantine;
mod schedule;
mod snapshot_test;
mod volume;
mod volume_end;
mod volume_move;

pub use freeze::Freeze;
pub use identity::{AccessKey, Credential, Project, Quota, Role, User};
pub use image::{Image, ImageState, ImportTask};
pub use instance::{
    Instance, InstanceRecord, MetadataSettings, Placement, PlacementGroup, PlacementStrategy, RootVolume,
    ShutdownBehavior, StateReason,
};
pub use key_pair::{KeyKind, KeyPair};
pub use lifecycle::{
    AttachmentState, ExportState, FreezeStage, ImportEvent, ImportState, InstanceRequest, InstanceState,
    MoveStage, NodeEvent, NodeRequest, NodeState, SnapshotFreeze, SnapshotState, VolumeEvent, VolumeState,
};
pub use network::{DefaultNetwork, NetworkInterface, Rule, RulePeer, SecurityGroup, Subnet, Vpc};
pub use node::{JoinToken, Node, NodeLoad};
pub use quarantine::Quarantined;
pub use schedule::{ScheduledTests, SnapshotSchedule};
pub use snapshot_test::{FailedTest, OverdueTest, SnapshotTest, SnapshotTestCounts, SnapshotTested};
pub use volume::{
    Attachment, Pool, Snapshot, SnapshotRecord, SnapshotSharing, Volume, VolumeModification, VolumeRecord,
};
pub use volume_end::{EndingVolume, VolumeEnd};
pub use volume_move::{HeldBy, HeldVolume, VolumeMove};
