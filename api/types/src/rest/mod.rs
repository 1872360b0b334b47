//! What travels over the REST surface.
//!
//! Requests refuse unknown fields, so that a typing error is an error. Replies do not: an older
//! client reads a newer server's answers.

mod access;
mod cloud;
mod content;
mod image;
mod instance;
mod key_pair;
mod leftover;
mod list;
mod network;
mod node;
mod placement_group;
mod pool;
mod security_group;
mod snapshot;
mod snapshot_schedule;
mod tag;
mod upload;
mod volume;
mod volume_move;

pub use access::{
    AccessKey, CreateAccessKeyRequest, CreateProjectRequest, CreateUserRequest, CreatedAccessKey,
    ListAccessKeysRequest, Project, Quota, Role, User,
};
pub use cloud::{
    Capacity, CheckOutcome, DoctorCheck, DoctorReport, Event, Explanation, Identity, InstanceType,
    ListEventsRequest, TypeRoom,
};
pub use content::{DiskContent, DownloadSnapshotRequest};
pub use image::{Image, ImportImageRequest, ImportState, ImportTask};
pub use instance::{
    ConsoleOutput, Health, Instance, InstanceState, LaunchVolume, ListInstancesRequest, RunInstancesRequest,
    SetInstanceRequest, ShowConsoleRequest, ShutdownBehavior, StopInstanceRequest,
};
pub use key_pair::{CreateKeyPairRequest, CreatedKeyPair, KeyKind, KeyPair};
pub use leftover::{Leftover, LeftoverKind, LeftoverState};
pub use list::{Empty, List};
pub use network::{Subnet, Vpc};
pub use node::{ExpungeNodeRequest, ExpungedNode, JoinToken, Node, NodeState, Resources};
pub use placement_group::{CreatePlacementGroupRequest, PlacementGroup, PlacementStrategy};
pub use pool::{CreatePoolRequest, Pool, PoolBackend, PoolUsage};
pub use security_group::{CreateSecurityGroupRequest, Rule, RuleRequest, SecurityGroup};
pub use snapshot::{
    CopySnapshotRequest, CreateSnapshotRequest, Snapshot, SnapshotConsistency, SnapshotImageRequest,
    SnapshotInstanceRequest, SnapshotState, SnapshotTest,
};
pub use snapshot_schedule::{CreateSnapshotScheduleRequest, SnapshotSchedule};
pub use tag::{DeleteTagRequest, ListTagsRequest, PutTagsRequest, Tag};
pub use upload::{
    AppendImageUploadRequest, CompleteImageUploadRequest, CreateImageUploadRequest, ImageUpload,
    UploadContent, UploadImageRequest,
};
pub use volume::{
    AttachVolumeRequest, AttachmentState, CreateVolumeRequest, DetachVolumeRequest, ModificationState,
    ModifyVolumeRequest, SetVolumeTtlRequest, Volume, VolumeAttachment, VolumeEnd, VolumeEndState, VolumeIo,
    VolumeModification, VolumeState,
};
pub use volume_move::{DrainPoolRequest, MoveStage, MoveVolumeRequest, PoolLeaving, VolumeMove};
