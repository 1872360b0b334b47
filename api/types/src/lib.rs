//! The contract between every part of Tepui: newtype ids, the structs that travel, and the
//! registry of REST endpoints. It does no I/O and knows no runtime, so that the control plane,
//! the agent and the clients can share it without pulling each other in.

pub mod agent;
pub mod endpoint;
pub mod error;
pub mod failpoint;
pub mod frames;
pub mod holes;
pub mod id;
pub mod rest;

mod filer;
mod value;
mod version;

pub use error::{ErrorBody, ErrorCode};
pub use filer::{FilerFolder, ParseFilerFolderError};
pub use id::{
    AttachmentId, ExportId, FreezeId, ImageId, ImportTaskId, InstanceId, KeyPairId, NetworkInterfaceId,
    NodeId, ParseIdError, PlacementGroupId, PlacementId, PoolId, ProjectId, ReservationId, SecurityGroupId,
    SecurityGroupRuleId, SendingId, SnapshotId, SnapshotScheduleId, SnapshotTestId, SubnetId, UserId,
    VolumeId, VpcId,
};
pub use jiff::Timestamp;
pub use value::{Digest, MacAddress, ParseDigestError, ParseMacError};
pub use version::{Epoch, Generation};
