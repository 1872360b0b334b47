//! The storage contract.
//!
//! One method is one serializable transaction and one verb of the domain, safe to repeat. Time, ids
//! and randomness come in as arguments. What the domain must decide on comes back as
//! `Ok(Outcome::…)`; [`DbError`] says only that the store could not answer. No SQL, row, closure or
//! transaction crosses these traits.

mod books;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod freeze;
mod identity;
mod image;
mod instance;
mod key_pair;
mod launch;
pub mod model;
mod network;
mod node;
mod placement;
mod pool;
mod quarantine;
mod rehearsal;
mod retention;
mod schedule;
mod snapshot;
mod snapshot_test;
mod storage;
mod tag;
mod volume;
mod volume_end;
mod volume_move;

pub use books::{BooksDb, Discrepancy};
pub use error::DbError;
pub use freeze::{FreezeDb, FreezeNews, FreezeOutcome};
pub use identity::{AuditFilter, AuditRecord, CreateOutcome, DeleteOutcome, IdentityDb};
pub use image::{ImageDb, ImportOutcome};
pub use instance::{
    AttributeChange, InstanceDb, InstanceFilter, NewPlace, PowerChange, PowerOutcome, StartRequest,
};
pub use key_pair::KeyPairDb;
pub use launch::{
    Addresses, GroupName, Launch, LaunchInstance, LaunchNames, LaunchOutcome, LaunchParents, LaunchVolume,
    NewInterface, TokenUse,
};
pub use network::{NetworkDb, RuleChange, RuleOutcome};
pub use node::{Certificate, EnrolOutcome, NewNode, NodeChanges, NodeDb};
pub use placement::{Adoption, ExpungeOutcome, NodePartState, PlacementDb, Transition};
pub use pool::{PoolDb, PoolLoad};
pub use quarantine::QuarantineDb;
pub use rehearsal::{is_rehearsed, rehearse};
pub use retention::{Cutoffs, RetentionDb};
pub use schedule::ScheduleDb;
pub use snapshot::{
    CopySnapshotOutcome, NewSnapshotsOutcome, ShareOutcome, SharingChange, SnapshotDb, SnapshotOfImageOutcome,
};
pub use snapshot_test::{OrderTestOutcome, SnapshotTestDb};
pub use storage::{StorageDb, StorageNews, StoragePartState};
pub use tag::{TagDb, TagOutcome};
pub use volume::{
    AttachOutcome, DetachOutcome, Detachment, NewAttachment, NewVolume, NewVolumeOutcome, VolumeChange,
    VolumeDb, VolumeOutcome,
};
pub use volume_end::VolumeEndDb;
pub use volume_move::{MoveOutcome, NewMove, VolumeMoveDb};

/// The whole store. Its writing verbs obey [`rehearse`].
pub trait Db:
    IdentityDb
    + NodeDb
    + PlacementDb
    + InstanceDb
    + ImageDb
    + KeyPairDb
    + NetworkDb
    + TagDb
    + PoolDb
    + QuarantineDb
    + VolumeDb
    + VolumeEndDb
    + VolumeMoveDb
    + SnapshotDb
    + SnapshotTestDb
    + FreezeDb
    + ScheduleDb
    + StorageDb
    + RetentionDb
    + BooksDb
    + Send
    + Sync
{
}

impl<T> Db for T where
    T: IdentityDb
        + NodeDb
        + PlacementDb
        + InstanceDb
        + ImageDb
        + KeyPairDb
        + NetworkDb
        + TagDb
        + PoolDb
        + QuarantineDb
        + VolumeDb
        + VolumeEndDb
        + VolumeMoveDb
        + SnapshotDb
        + SnapshotTestDb
        + FreezeDb
        + ScheduleDb
        + StorageDb
        + RetentionDb
        + BooksDb
        + Send
        + Sync
{
}
