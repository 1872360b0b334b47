//! Creating a volume: the pool it goes to, and the row.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};
use tepui_db::model::{Pool, Snapshot, Volume, VolumeState};
use tepui_db::{NewVolume, NewVolumeOutcome, PoolLoad, TokenUse};
use tepui_types::agent::IoLimits;
use tepui_types::{NodeId, PoolId, SnapshotId, VolumeId};

use super::end::new_end;
use super::throttle::io_limits;
use super::{USUAL_CLASS, VolumeView, check_size};
use crate::failpoint::pass;
use crate::snapshot::not_completed;
use crate::{Caller, Cloud, Error, Kind, Tags, check_tags, limits};

/// What AWS calls its types (EC2 API reference, "CreateVolume"). Clients name them without asking.
const AWS_TYPES: [&str; 7] = ["standard", "gp2", "gp3", "io1", "io2", "st1", "sc1"];

/// A volume to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateVolume {
    /// In GiB; `None` takes the snapshot's.
    pub size_gib: Option<u32>,
    /// The class of the pool.
    pub class: Option<String>,
    /// Operations a second that a guest may do; `None` is no limit.
    pub iops: Option<u32>,
    /// MiB a second that a guest may read and write; `None` is no limit.
    pub throughput_mib: Option<u32>,
    /// What it holds when it is new.
    pub snapshot_id: Option<SnapshotId>,
    /// It is deleted so long after now; `None` never.
    pub ttl_seconds: Option<u32>,
    /// Nobody writes it, so that many instances may have it at once; only with a snapshot.
    pub read_only: bool,
    /// Makes a repeat harmless.
    pub client_token: Option<String>,
    /// Its tags.
    pub tags: Tags,
}

impl Cloud {
    /// Creates a volume in the emptiest pool of its class.
    ///
    /// # Errors
    /// `InvalidInput`, `NotFound` for the snapshot or the class, `WrongState` for a snapshot that is not completed, `QuotaExceeded`, `TokenMismatch`, `PoolsFull`.
    pub async fn create_volume(&self, caller: &Caller, request: CreateVolume) -> Result<VolumeView, Error> {
        check_tags(&request.tags)?;
        check_access(&request)?;
        let snapshot = match request.snapshot_id {
            Some(id) => Some(self.usable_snapshot(caller, id).await?),
            None => None,
        };
        let size_gib = wanted_size(request.size_gib, snapshot.as_ref())?;
        let limits = io_limits(request.iops, request.throughput_mib)?;
        let token = token_use(&request, limits)?;
        let end = request.ttl_seconds.map(|ttl| new_end(caller, ttl, self.now())).transpose()?;
        let volume = Volume {
            id: VolumeId::from_random(self.random()),
            project_id: caller.project,
            pool_id: PoolId::from_random(0),
            size_gib,
            actual_gib: 0,
            limits,
            snapshot_id: request.snapshot_id,
            image: None,
            read_only: request.read_only,
            state: VolumeState::Creating,
            message: None,
            created_at: self.now(),
        };
        let new = NewVolume { volume, token, tags: limits::tag_pairs(&request.tags), end };
        let made =
            |written: Option<&(VolumeId, Option<NodeId>)>| written.map_or(new.volume.id, |(id, _)| *id);
        let write = self.write_volume(&request, snapshot.as_ref(), new.clone());
        let (id, node) = self.commit_naming(caller, "CreateVolume", |w| made(w).to_string(), write).await?;
        let passed = pass("core::volume::committed")?;
        self.wakes.wake(passed, node);
        pass("core::volume::woken")?;
        self.volume(caller, id).await
    }

    /// The volume, and the node that makes it if nobody asked for it before. Chooses again where the pool is lost
    /// meanwhile.
    async fn write_volume(
        &self,
        request: &CreateVolume,
        snapshot: Option<&Snapshot>,
        mut new: NewVolume,
    ) -> Result<(VolumeId, Option<NodeId>), Error> {
        let mut lost = BTreeSet::new();
        loop {
            new.volume.pool_id = match self.choose_pool(request, snapshot, &lost).await {
                Ok(pool) => pool.id,
                Err(none) => return self.made_before(new, none).await,
            };
            match self.db.create_volume(&new).await? {
                NewVolumeOutcome::Created(node) => return Ok((new.volume.id, Some(node))),
                NewVolumeOutcome::Repeated(id) => return Ok((id, None)),
                NewVolumeOutcome::PoolLost(pool) => lost.insert(pool),
                refused => return Err(refusal(&new, refused)),
            };
        }
    }

    /// A repeat is answered where there is no pool for a new volume any more.
    async fn made_before(
        &self,
        mut new: NewVolume,
        no_pool: Error,
    ) -> Result<(VolumeId, Option<NodeId>), Error> {
        if new.token.is_none() {
            return Err(no_pool);
        }
        // In no pool, so that nothing is made.
        new.volume.pool_id = PoolId::from_random(0);
        match self.db.create_volume(&new).await? {
            NewVolumeOutcome::Repeated(id) => Ok((id, None)),
            NewVolumeOutcome::TokenMismatch => Err(refusal(&new, NewVolumeOutcome::TokenMismatch)),
            NewVolumeOutcome::Created(_)
            | NewVolumeOutcome::PoolLost(_)
            | NewVolumeOutcome::SnapshotMissing(_)
            | NewVolumeOutcome::SnapshotState(..)
            | NewVolumeOutcome::SmallerThanSnapshot(_)
            | NewVolumeOutcome::QuotaExceeded { .. }
            | NewVolumeOutcome::ParentMissing => Err(no_pool),
        }
    }

    /// The pool with the most free room, by the last word of its host; one of which that is unknown only where there
    /// is no other.
    async fn choose_pool(
        &self,
        request: &CreateVolume,
        snapshot: Option<&Snapshot>,
        lost: &BTreeSet<PoolId>,
    ) -> Result<Pool, Error> {
        let open = self.open_pools(request.class.as_deref(), snapshot).await?;
        let left = open.pools.iter().filter(|pool| !lost.contains(&pool.pool.id));
        emptiest(left).map(|open| open.pool.clone()).ok_or(Error::PoolsFull { class: open.class })
    }

    /// The pools of a class that take new volumes, or the one of a snapshot if it does.
    pub(crate) async fn open_pools(
        &self,
        class: Option<&str>,
        snapshot: Option<&Snapshot>,
    ) -> Result<OpenPools, Error> {
        self.open_pools_of(&self.db.pools().await?, class, snapshot)
    }

    /// The same of these pools.
    pub(crate) fn open_pools_of(
        &self,
        loads: &[PoolLoad],
        class: Option<&str>,
        snapshot: Option<&Snapshot>,
    ) -> Result<OpenPools, Error> {
        let class = class_of(class, loads)?;
        let is_meant = |pool: &&Pool| match snapshot {
            Some(snapshot) => pool.id == snapshot.pool_id,
            None => pool.class == class,
        };
        let meant = loads.iter().map(|load| &load.pool).filter(is_meant);
        let pools = meant.filter_map(|pool| self.open_pool(pool.clone())).collect();
        Ok(OpenPools { class, pools })
    }

    /// The pool, if it takes what is new.
    pub(crate) fn open_pool(&self, pool: Pool) -> Option<OpenPool> {
        let room = self.pool_room(&pool)?;
        (!pool.draining && room.takes_more).then_some(OpenPool { free_bytes: room.free_bytes, pool })
    }
}

/// The pools that a volume can go to.
pub(crate) struct OpenPools {
    /// The class that is meant.
    pub(crate) class: String,
    pub(crate) pools: Vec<OpenPool>,
}

/// A pool that takes new volumes.
pub(crate) struct OpenPool {
    free_bytes: u64,
    pub(crate) pool: Pool,
}

/// The pool with the most free room.
pub(crate) fn emptiest<'a>(pools: impl Iterator<Item = &'a OpenPool>) -> Option<&'a OpenPool> {
    pools.max_by_key(|open| (open.free_bytes, std::cmp::Reverse(open.pool.id)))
}

/// The class that is meant; one of AWS's types that no pool has stands for the usual one.
pub(crate) fn class_of(named: Option<&str>, pools: &[PoolLoad]) -> Result<String, Error> {
    let known = |class: &str| pools.iter().any(|load| load.pool.class == class);
    if let Some(class) = named.filter(|class| known(class)) {
        return Ok(class.to_owned());
    }
    if let Some(class) = named.filter(|class| !AWS_TYPES.contains(class)) {
        return Err(Error::not_found(Kind::PoolClass, class));
    }
    let only = pools.first().map(|load| load.pool.class.clone());
    let only = only.filter(|class| pools.iter().all(|load| load.pool.class == *class));
    Ok(only.unwrap_or_else(|| USUAL_CLASS.to_owned()))
}

pub(crate) fn wanted_size(asked: Option<u32>, snapshot: Option<&Snapshot>) -> Result<u32, Error> {
    let size = match (asked, snapshot) {
        (Some(size), _) => size,
        (None, Some(snapshot)) => snapshot.size_gib,
        (None, None) => return Err(Error::invalid("size", "", "is needed where there is no snapshot")),
    };
    check_size(size)?;
    match snapshot {
        Some(snapshot) if size < snapshot.size_gib => Err(smaller(size, snapshot.size_gib)),
        Some(_) | None => Ok(size),
    }
}

/// What nobody writes must hold something from the beginning.
fn check_access(request: &CreateVolume) -> Result<(), Error> {
    match request.read_only && request.snapshot_id.is_none() {
        true => {
            let rule = "needs a snapshot: a volume that several instances may attach (MultiAttachEnabled) is read-only \
                        for all of them, so that nobody could ever write this one";
            Err(Error::invalid("read_only", true, rule))
        }
        false => Ok(()),
    }
}

fn smaller(size: u32, least: u32) -> Error {
    Error::invalid("size", size, format!("is at least the {least} GiB of its snapshot"))
}

fn token_use(request: &CreateVolume, limits: IoLimits) -> Result<Option<TokenUse>, Error> {
    let Some(token) = &request.client_token else { return Ok(None) };
    limits::check_name("client_token", token, limits::CLIENT_TOKEN)?;
    let CreateVolume {
        size_gib,
        class,
        iops: _,
        throughput_mib: _,
        snapshot_id,
        ttl_seconds,
        read_only,
        client_token: _,
        tags,
    } = request;
    let mut parameters = format!("{size_gib:?} {class:?} {snapshot_id:?} {tags:?}");
    // Without them as before there were any: a token outlives an upgrade.
    if !limits.is_none() {
        parameters += &format!(" {limits:?}");
    }
    if let Some(ttl) = ttl_seconds {
        parameters += &format!(" ttl {ttl}");
    }
    if *read_only {
        parameters += " read-only";
    }
    let parameters_sha256 = Sha256::digest(parameters.as_bytes()).into();
    Ok(Some(TokenUse { token: token.clone(), parameters_sha256 }))
}

fn refusal(new: &NewVolume, outcome: NewVolumeOutcome) -> Error {
    let asked = |quota| if quota == "volumes" { 1 } else { u64::from(new.volume.size_gib) };
    match outcome {
        NewVolumeOutcome::TokenMismatch => {
            Error::TokenMismatch { token: new.token.as_ref().map(|t| t.token.clone()).unwrap_or_default() }
        }
        NewVolumeOutcome::SnapshotMissing(id) => Error::not_found(Kind::Snapshot, id),
        NewVolumeOutcome::SnapshotState(id, state) => not_completed(id, state),
        NewVolumeOutcome::SmallerThanSnapshot(least) => smaller(new.volume.size_gib, least),
        NewVolumeOutcome::QuotaExceeded { quota, limit, used } => {
            Error::QuotaExceeded { quota, limit, used, asked: asked(quota) }
        }
        NewVolumeOutcome::ParentMissing => Error::not_found(Kind::Project, new.volume.project_id),
        NewVolumeOutcome::Created(_) | NewVolumeOutcome::Repeated(_) | NewVolumeOutcome::PoolLost(_) => {
            Error::internal("a volume that was written was refused")
        }
    }
}
