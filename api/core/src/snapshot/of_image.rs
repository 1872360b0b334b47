//! Making a snapshot that holds an image: the pool that it goes to, and the row.

use std::collections::BTreeSet;

use tepui_db::SnapshotOfImageOutcome;
use tepui_db::model::{Snapshot, SnapshotRecord, SnapshotState};
use tepui_types::agent::FreezeKind;
use tepui_types::{ImageId, NodeId, PoolId, SnapshotId};

use crate::failpoint::pass;
use crate::volume::create::{OpenPools, emptiest};
use crate::{Caller, Cloud, Error, Kind, Tags, check_tags, limits};

/// Where a snapshot of an image is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotPlace {
    /// In the emptiest pool of this class; `None` is the class that a volume has when none is named.
    Class(Option<String>),
    /// In this pool. For administrators: others do not know the pools.
    Pool(PoolId),
}

/// A snapshot to be, of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotOfImage {
    /// What it holds.
    pub image: ImageId,
    /// Where.
    pub place: SnapshotPlace,
    /// For people.
    pub description: String,
    /// Its tags.
    pub tags: Tags,
}

impl Cloud {
    /// Makes a snapshot that holds an image the caller may launch, and zeros up to whole GiB. The image can be withdrawn at
    /// once: its bytes stay until the snapshot is there.
    ///
    /// # Errors
    /// `InvalidInput`, `NotFound` for the image, the class or the pool, `Forbidden`, `PoolsFull`.
    pub async fn snapshot_of_image(
        &self,
        caller: &Caller,
        request: SnapshotOfImage,
    ) -> Result<SnapshotRecord, Error> {
        check_tags(&request.tags)?;
        limits::check_description(&request.description)?;
        if let SnapshotPlace::Pool(_) = request.place {
            caller.require_administrator()?;
        }
        self.image(caller, request.image).await?;
        let snapshot = Snapshot {
            id: SnapshotId::from_random(self.random()),
            project_id: caller.project,
            pool_id: PoolId::from_random(0),
            volume_id: Snapshot::NO_VOLUME,
            copy_of: None,
            image: None,
            root_of: None,
            size_gib: 0,
            description: request.description.clone(),
            state: SnapshotState::Pending,
            freeze: None,
            freeze_kind: FreezeKind::default(),
            message: None,
            created_at: self.now(),
        };
        let id = snapshot.id;
        let write = self.write_of_image(&request, snapshot);
        let node = self.commit(caller, "SnapshotImage", id.to_string(), write).await?;
        let passed = pass("core::snapshot::committed")?;
        self.wakes.wake(passed, [node]);
        pass("core::snapshot::woken")?;
        let made = self.snapshots(caller, &[id]).await?.pop();
        made.ok_or_else(|| Error::not_found(Kind::Snapshot, id))
    }

    /// The node that makes it. Chooses again where the pool is lost meanwhile.
    async fn write_of_image(
        &self,
        request: &SnapshotOfImage,
        mut snapshot: Snapshot,
    ) -> Result<NodeId, Error> {
        let tags = limits::tag_pairs(&request.tags);
        let mut lost = BTreeSet::new();
        loop {
            snapshot.pool_id = self.place_of_snapshot(&request.place, &lost).await?;
            match self.db.snapshot_of_image(request.image, &snapshot, &tags).await? {
                SnapshotOfImageOutcome::Making(node) => return Ok(node),
                SnapshotOfImageOutcome::PoolLost(pool) => lost.insert(pool),
                SnapshotOfImageOutcome::ImageMissing(id) => return Err(Error::not_found(Kind::Image, id)),
            };
        }
    }

    async fn place_of_snapshot(
        &self,
        place: &SnapshotPlace,
        lost: &BTreeSet<PoolId>,
    ) -> Result<PoolId, Error> {
        let open = match place {
            SnapshotPlace::Class(class) => self.open_pools(class.as_deref(), None).await?,
            SnapshotPlace::Pool(id) => self.only_pool(*id).await?,
        };
        let left = open.pools.iter().filter(|open| !lost.contains(&open.pool.id));
        emptiest(left).map(|open| open.pool.id).ok_or(Error::PoolsFull { class: open.class })
    }

    /// This pool, if it takes what is new.
    async fn only_pool(&self, id: PoolId) -> Result<OpenPools, Error> {
        let mut pools = self.db.pools().await?.into_iter().map(|load| load.pool);
        let pool = pools.find(|pool| pool.id == id).ok_or_else(|| Error::not_found(Kind::Pool, id))?;
        let class = pool.class.clone();
        Ok(OpenPools { class, pools: self.open_pool(pool).into_iter().collect() })
    }
}
