//! Volumes and snapshots as a part wants them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tepui_storage::{Pool, PoolError};
use tepui_types::agent::{
    SnapshotObserved, SnapshotPart, StoredState, VolumeObserved, VolumePart, WantedSnapshot, WantedVolume,
};
use tepui_types::{PoolId, Timestamp};

use super::bases::Bases;

/// A thing in a pool, and what is seen of it.
pub(super) trait Stored: Send + Clone + 'static {
    type Seen: Send + 'static;
    fn pool(&self) -> PoolId;
    fn seen(&self, state: StoredState) -> Self::Seen;
}

impl Stored for WantedVolume {
    type Seen = VolumeObserved;

    fn pool(&self) -> PoolId {
        self.pool_id
    }

    fn seen(&self, state: StoredState) -> VolumeObserved {
        VolumeObserved { id: self.id, state }
    }
}

impl Stored for WantedSnapshot {
    type Seen = SnapshotObserved;

    fn pool(&self) -> PoolId {
        self.pool_id
    }

    fn seen(&self, state: StoredState) -> SnapshotObserved {
        SnapshotObserved { id: self.id, state }
    }
}

/// Does the same for each of `all`, where that holds up no other task.
pub(super) async fn work<T: Stored>(
    open: BTreeMap<PoolId, Arc<Pool>>,
    all: Vec<T>,
    one: impl Fn(&Arc<Pool>, &T) -> Result<StoredState, PoolError> + Send + 'static,
) -> Vec<T::Seen> {
    let work = move || {
        let each = |wanted: &T| {
            let state = match open.get(&wanted.pool()) {
                Some(pool) => one(pool, wanted).unwrap_or_else(|error| not_stored(&error)),
                None => unusable("its pool"),
            };
            wanted.seen(state)
        };
        all.iter().map(each).collect()
    };
    // It is not cancelled; only the end of the process ends it early.
    tokio::task::spawn_blocking(work).await.unwrap_or_default()
}

pub(super) fn volume(
    pool: &Arc<Pool>,
    wanted: &WantedVolume,
    now: Timestamp,
    bases: &Bases,
) -> Result<StoredState, PoolError> {
    let VolumePart::Present { size_bytes, snapshot_id, image, made } = &wanted.wanted else {
        pool.remove_volume(wanted.id, now)?;
        return Ok(StoredState::Gone);
    };
    let found = match pool.volume(wanted.id)? {
        Some(found) if found.bytes < *size_bytes => pool.grow_volume(wanted.id, *size_bytes)?,
        Some(found) if *made => found,
        None if *made => return Ok(lost()),
        // One that is there is left as it is, and put on the disk before it is told.
        Some(_) | None => match (snapshot_id, image) {
            (None, None) => pool.create_volume(wanted.id, *size_bytes)?,
            (Some(snapshot), None) => pool.clone_volume(wanted.id, *snapshot, *size_bytes)?,
            (None, Some(image)) => match pool.begin_volume(wanted.id, *image, *size_bytes) {
                Err(PoolError::NoBase(_)) => return Ok(bases.want(wanted.pool_id, pool, *image)),
                made => made?,
            },
            (Some(_), Some(_)) => return Ok(twofold("a volume begins with a snapshot or with an image")),
        },
    };
    Ok(StoredState::Present { size_bytes: found.bytes })
}

pub(super) fn snapshot(
    pool: &Arc<Pool>,
    wanted: &WantedSnapshot,
    now: Timestamp,
    bases: &Bases,
) -> Result<StoredState, PoolError> {
    let SnapshotPart::Present { volume_id, copy_of, image, taken } = &wanted.wanted else {
        pool.remove_snapshot(wanted.id, now)?;
        return Ok(StoredState::Gone);
    };
    let found = match pool.snapshot(wanted.id)? {
        Some(found) if *taken => found,
        None if *taken => return Ok(lost()),
        // Nothing is made of one that is there; it is put on the disk before it is told.
        Some(_) => pool.take_snapshot(wanted.id, *volume_id)?,
        None => match (copy_of, image) {
            (None, None) => pool.take_snapshot(wanted.id, *volume_id)?,
            (Some(source), None) if source.pool_id == wanted.pool_id => {
                pool.copy_snapshot(wanted.id, source.snapshot_id)?
            }
            (Some(_), None) => return Ok(unusable("the pool of its source")),
            (None, Some(image)) => match pool.begin_snapshot(wanted.id, *image) {
                Err(PoolError::NoBase(_)) => return Ok(bases.want(wanted.pool_id, pool, image.content)),
                made => made?,
            },
            (Some(_), Some(_)) => return Ok(twofold("a snapshot is a copy or is made from an image")),
        },
    };
    Ok(StoredState::Present { size_bytes: found.bytes })
}

/// It was here. An operator may bring it back; nothing else could but a disk with other bytes under its name.
fn lost() -> StoredState {
    StoredState::Failed { message: "its file is not in the pool any more".into(), permanent: false }
}

fn unusable(pool: &str) -> StoredState {
    StoredState::Failed { message: format!("{pool} cannot be used"), permanent: false }
}

fn twofold(rule: &str) -> StoredState {
    StoredState::Failed { message: format!("{rule}, and not both"), permanent: true }
}

pub(super) fn not_stored(error: &PoolError) -> StoredState {
    StoredState::Failed { message: crate::chain(error), permanent: is_permanent(error) }
}

/// What cannot become better while the same is wanted is for good.
pub(super) fn is_permanent(error: &PoolError) -> bool {
    match error {
        PoolError::Size { .. }
        | PoolError::Shrink { .. }
        | PoolError::SmallerThanSnapshot { .. }
        | PoolError::SmallerThanImage { .. }
        | PoolError::ImageLength { .. }
        | PoolError::OtherSize { .. }
        | PoolError::NoVolume(_)
        | PoolError::NoSnapshot(_)
        | PoolError::Outgrown { .. }
        | PoolError::Removed { .. } => true,
        PoolError::NoReflink { .. }
        | PoolError::NotAPool { .. }
        | PoolError::OtherPool { .. }
        | PoolError::NotEmpty { .. }
        | PoolError::InUse { .. }
        | PoolError::Full { .. }
        | PoolError::NoRoom { .. }
        | PoolError::Frames(_)
        | PoolError::CutOff { .. }
        | PoolError::Stopped
        | PoolError::NoBase(_)
        | PoolError::File { .. }
        | PoolError::Failpoint(_) => false,
    }
}
