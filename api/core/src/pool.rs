//! Pools, as operators see them. Administrators only.

use std::collections::BTreeMap;

use tepui_db::model::Pool;
use tepui_db::{CreateOutcome, PoolLoad};
use tepui_types::agent::{IoCounters, PoolBackend, PoolObserved, PoolState};
use tepui_types::{FilerFolder, NodeId, PoolId};

use crate::failpoint::pass;
use crate::identity::{deleted, taken};
use crate::{Caller, Cloud, Error, Kind, PoolLeaving, limits};

/// A pool to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatePool {
    /// Unique in the cloud.
    pub name: String,
    /// What users ask for as the volume's type.
    pub class: String,
    /// How its volumes reach their instances.
    pub backend: PoolBackend,
    /// The node whose agent serves it.
    pub node_id: NodeId,
    /// Its folder on that node.
    pub path: String,
    /// The same folder on the filer from which that node has it, and which serves it.
    pub filer: Option<FilerFolder>,
    /// Percent of its file system in use above which operators are warned.
    pub soft_percent: u8,
    /// Percent of its file system in use above which it takes nothing new.
    pub hard_percent: u8,
}

/// A pool with what its host said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolView {
    /// The rows.
    pub load: PoolLoad,
    /// Its host's last word to this process.
    pub state: Option<PoolState>,
    /// What guests did with its volumes while this process could hear it.
    pub io: IoCounters,
    /// How far it is, where what it holds goes to other pools.
    pub leaving: Option<PoolLeaving>,
}

/// The room in a pool.
pub(crate) struct PoolRoom {
    pub(crate) free_bytes: u64,
    pub(crate) takes_more: bool,
}

impl Cloud {
    /// Creates a pool. Its host makes the folder and says whether its file system will do.
    ///
    /// # Errors
    /// `Forbidden`, `InvalidInput`, `AlreadyExists`, `NotFound` for the node.
    pub async fn create_pool(&self, caller: &Caller, request: CreatePool) -> Result<PoolView, Error> {
        caller.require_administrator()?;
        check(&request)?;
        let CreatePool { name, class, backend, node_id, path, filer, soft_percent, hard_percent } = request;
        let id = PoolId::from_random(self.random());
        let pool = Pool {
            id,
            name,
            class,
            backend,
            node_id,
            path,
            filer,
            soft_percent,
            hard_percent,
            draining: false,
            created_at: self.now(),
        };
        self.commit(caller, "CreatePool", pool.id.to_string(), async {
            match self.db.create_pool(&pool).await? {
                CreateOutcome::Created => Ok(()),
                CreateOutcome::NameTaken(id) => Err(taken(Kind::Pool, &pool.name, id)),
                CreateOutcome::ParentMissing => Err(Error::not_found(Kind::Node, node_id)),
            }
        })
        .await?;
        let passed = pass("core::pool::committed")?;
        self.wakes.wake(passed, [node_id]);
        pass("core::pool::woken")?;
        self.pool(caller, id).await
    }

    /// All pools, by id.
    ///
    /// # Errors
    /// `Forbidden`.
    pub async fn pools(&self, caller: &Caller) -> Result<Vec<PoolView>, Error> {
        caller.require_administrator()?;
        self.pool_views().await
    }

    /// All pools, by id, for the operator's own eyes.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn pool_views(&self) -> Result<Vec<PoolView>, Error> {
        let loads = self.db.pools().await?;
        let mut leaving = match loads.iter().any(|load| load.moves_out) {
            true => self.leaving_pools().await?,
            false => BTreeMap::new(),
        };
        let view = |load: PoolLoad| PoolView {
            state: self.pool_state(&load.pool),
            io: self.io.of_pool(load.pool.id),
            leaving: load.moves_out.then(|| leaving.remove(&load.pool.id).unwrap_or_default()),
            load,
        };
        Ok(loads.into_iter().map(view).collect())
    }

    /// One pool.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound`.
    pub async fn pool(&self, caller: &Caller, id: PoolId) -> Result<PoolView, Error> {
        let found = self.pools(caller).await?.into_iter().find(|view| view.load.pool.id == id);
        found.ok_or_else(|| Error::not_found(Kind::Pool, id))
    }

    /// Keeps new volumes out of a pool, and moves what it holds and nobody uses to other pools of its class, also what
    /// becomes free later, until the pool is opened again.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound`.
    pub async fn empty_pool(&self, caller: &Caller, id: PoolId) -> Result<(), Error> {
        caller.require_administrator()?;
        self.commit(caller, "DrainPool", id.to_string(), async {
            let found = self.db.empty_pool(id).await?;
            found.then_some(()).ok_or_else(|| Error::not_found(Kind::Pool, id))
        })
        .await?;
        self.reconcile.notify_one();
        Ok(())
    }

    /// Keeps new volumes out of a pool, or lets them in again. What is in it stays and is served.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound`.
    pub async fn set_pool_draining(&self, caller: &Caller, id: PoolId, draining: bool) -> Result<(), Error> {
        caller.require_administrator()?;
        let action = if draining { "DrainPool" } else { "UndrainPool" };
        self.commit(caller, action, id.to_string(), async {
            let found = self.db.set_pool_draining(id, draining).await?;
            found.map(|_| ()).ok_or_else(|| Error::not_found(Kind::Pool, id))
        })
        .await
    }

    /// Deletes a pool without volumes and snapshots; what else is in its folder stays there.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound`, `InUse`.
    pub async fn delete_pool(&self, caller: &Caller, id: PoolId) -> Result<(), Error> {
        let pool = self.pool(caller, id).await?.load.pool;
        self.commit(caller, "DeletePool", id.to_string(), async {
            deleted(self.db.delete_pool(id).await?, Kind::Pool, id)
        })
        .await?;
        let passed = pass("core::pool::committed")?;
        self.wakes.wake(passed, [pool.node_id]);
        pass("core::pool::woken")?;
        Ok(())
    }

    fn pool_state(&self, pool: &Pool) -> Option<PoolState> {
        let report = self.fleet.report(pool.node_id)?;
        let find = |seen: &PoolObserved| (seen.id == pool.id).then(|| seen.state.clone());
        report.observed.storage.as_ref()?.pools.iter().find_map(find)
    }

    /// The room in a pool whose host says that it can be used, and is heard. Of a host that has not reported to this
    /// process yet, as after a restart, the room is unknown: it keeps to the watermark itself.
    pub(crate) fn pool_room(&self, pool: &Pool) -> Option<PoolRoom> {
        if self.fleet.is_silent(pool.node_id, self.steady(), self.config.node_timeout) {
            return None;
        }
        if self.fleet.report(pool.node_id).is_none() {
            return Some(PoolRoom { free_bytes: 0, takes_more: true });
        }
        match self.pool_state(pool)? {
            PoolState::Ready { total_bytes, used_bytes } => Some(PoolRoom {
                free_bytes: total_bytes.saturating_sub(used_bytes),
                takes_more: used_percent(total_bytes, used_bytes) < u64::from(pool.hard_percent),
            }),
            PoolState::Failed { .. } => None,
        }
    }
}

/// Rounded down; a file system without a size is full.
pub(crate) fn used_percent(total: u64, used: u64) -> u64 {
    let percent = u128::from(used) * 100 / u128::from(total).max(1);
    if total == 0 { 100 } else { u64::try_from(percent).unwrap_or(100) }
}

fn check(request: &CreatePool) -> Result<(), Error> {
    limits::check_name("name", &request.name, 64)?;
    limits::check_name("class", &request.class, 64)?;
    let path = &request.path;
    let plain = path.starts_with('/') && path.len() > 1 && path.len() <= 255 && !path.contains("//");
    let steps_back = path.split('/').any(|part| part == ".." || part == ".");
    if !plain || steps_back || path.chars().any(char::is_control) {
        let rule = "is an absolute path of up to 255 characters, without . and ..";
        return Err(Error::invalid("path", path, rule));
    }
    if let (Some(filer), PoolBackend::Iscsi | PoolBackend::Local) = (&request.filer, request.backend) {
        return Err(Error::invalid("filer", filer, "is given where the backend is nfs only"));
    }
    if request.backend == PoolBackend::Nfs && request.filer.is_none() && path.contains(['"', '\\', '(', ')'])
    {
        // Ganesha's configuration and log could not carry it.
        let rule = "is without quotes, backslash and parentheses where the node serves it over NFS";
        return Err(Error::invalid("path", path, rule));
    }
    let (soft, hard) = (request.soft_percent, request.hard_percent);
    if soft == 0 || soft > hard || hard > 100 {
        let rule = "1 ≤ soft_percent ≤ hard_percent ≤ 100";
        return Err(Error::invalid("soft_percent", format!("{soft} and {hard}"), rule));
    }
    Ok(())
}
