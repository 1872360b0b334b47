//! The domain: state machines, scheduler, reconcilers, authorization, quotas.
//!
//! [`Cloud`] has one method for each verb, one file for each resource. A verb authorizes the caller
//! on the objects it fetched, checks its input, makes one change of the store and wakes the nodes
//! concerned. It knows no HTTP, no SQL and no hypervisor; time and chance come in through [`Clock`]
//! and [`Entropy`].

mod admission;
mod agents;
mod audit;
mod auth;
mod bootstrap;
mod caller;
mod cloud;
mod console;
mod disk_io;
mod doctor;
mod enrol;
mod error;
mod explain;
pub mod failpoint;
mod fleet;
mod identity;
mod image;
mod import;
mod instance;
mod instance_type;
mod key_pair;
mod keyring;
mod limits;
mod loads;
mod network;
mod node;
mod parts;
mod placement_group;
mod pool;
mod public_pool;
mod reclaim;
mod reconcile;
mod room;
pub mod scheduler;
mod security_group;
mod sending;
mod snapshot;
mod tag;
pub mod transition;
mod volume;
mod wake;

pub use admission::{Admission, Turn};
pub use audit::{Refused, acts_as};
pub use auth::{AuthKey, BearerError};
pub use bootstrap::Bootstrapped;
pub use caller::Caller;
pub use cloud::Cloud;
pub use console::ConsoleOutput;
pub use doctor::{Finding, Severity};
pub use enrol::NewJoinToken;
pub use error::{Error, Kind};
pub use explain::{Explanation, Fact};
pub use fleet::NodeView;
pub use identity::{AccessKeyView, NewAccessKey, QuotaUse};
pub use import::{BegunImport, ImportRequest, ImportedImage};
pub use instance::{
    Health, InstanceChange, InstanceStatus, InstanceView, LaunchVolumeRequest, MetadataChange, Reservation,
    RootVolumeRequest, RunInstances, StateChange,
};
pub use instance_type::{INSTANCE_TYPES, InstanceType, instance_type};
pub use key_pair::NewKeyPair;
pub use keyring::{Keyring, KeyringError};
pub use limits::{Tags, check_tags};
pub use network::NetworkInterfaceView;
pub use parts::{Clock, CloudConfig, CloudParts, Entropy, IdentitySigner, Overcommit, Retention, Strategy};
pub use pool::{CreatePool, PoolView};
pub use public_pool::pool_conflict;
pub use reclaim::{LeftoverState, LeftoverView};
pub use reconcile::Reconciler;
pub use room::Room;
pub use security_group::{
    NameOrId, NewRule, NewSecurityGroup, RuleSelector, authorize_action, revoke_action,
};
pub use sending::{BrokenOff, Content, Outlet, Untaken};
pub use snapshot::{
    CopySnapshot, CopyTo, CreateSnapshotSchedule, CreateSnapshots, NOT_HELD, SnapshotOfImage, SnapshotPlace,
    TEST_FAILED, snapshot_failure,
};
pub use volume::{
    AttachVolume, AttachmentView, CreateVolume, DetachVolume, DiskChange, EndState, EndView,
    ModificationState, ModificationView, ModifyVolume, PoolLeaving, USUAL_IOPS, USUAL_THROUGHPUT_MIB,
    VolumeView,
};
