//! What lies in pools and is not wanted there, and what of it is ordered to be unlinked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tepui_storage::{Pool, PoolError};
use tepui_types::agent::{Leftover, LeftoverKind, MOST_LEFTOVERS, StoragePart, StoredId};
use tepui_types::{Digest, PoolId};

use super::bases;

/// Unlinks what the part orders. Nothing else does: only an explicit order ends the grace of what was removed.
pub(super) async fn unlink(pools: BTreeMap<PoolId, Arc<Pool>>, part: &StoragePart) {
    let mut ordered: BTreeMap<PoolId, BTreeSet<String>> = BTreeMap::new();
    for one in &part.unlinks {
        ordered.entry(one.pool_id).or_default().insert(one.id.to_string());
    }
    let work = move || {
        for (id, names) in &ordered {
            let Some(pool) = pools.get(id) else { continue };
            match pool.sweep(|found| names.contains(&found.id)) {
                Ok(swept) => {
                    swept.iter().for_each(|one| tracing::info!(id = one.id, "unlinked what was removed"));
                }
                // The other pools are swept all the same, and this one at the next look.
                Err(error) => {
                    tracing::warn!(pool = %id, message = crate::chain(&error), "the trash of a pool stays");
                }
            }
        }
    };
    // It is not cancelled; what the end of the process leaves is ordered again.
    let _ = tokio::task::spawn_blocking(work).await;
}

/// Everything in the pools that the part does not want there. Of a pool whose file system gives no answer nothing is
/// said.
pub(super) async fn find(pools: BTreeMap<PoolId, Arc<Pool>>, part: &StoragePart) -> Vec<Leftover> {
    let named = Named::of(part);
    let work = move || {
        let mut found = Vec::new();
        for (id, pool) in &pools {
            match of_pool(*id, pool, &named) {
                Ok(leftovers) => found.extend(leftovers),
                Err(error) => {
                    tracing::warn!(pool = %id, message = crate::chain(&error), "a pool cannot be looked through");
                }
            }
        }
        found.sort_unstable();
        found
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_default()
}

/// What a part names, whether it is to be there or not.
struct Named {
    stored: BTreeSet<(PoolId, StoredId)>,
    /// Images that volumes and snapshots wait for.
    images: BTreeSet<(PoolId, Digest)>,
}

impl Named {
    fn of(part: &StoragePart) -> Self {
        let volumes = part.volumes.iter().map(|one| (one.pool_id, StoredId::Volume(one.id)));
        let snapshots = part.snapshots.iter().map(|one| (one.pool_id, StoredId::Snapshot(one.id)));
        let images = bases::awaited(part).map(|(pool, digest, _)| (pool, digest));
        Self { stored: volumes.chain(snapshots).collect(), images: images.collect() }
    }
}

fn of_pool(pool_id: PoolId, pool: &Pool, named: &Named) -> Result<Vec<Leftover>, PoolError> {
    let mut found = Vec::new();
    for removed in pool.trash()? {
        // What an operator put there under another name is theirs.
        let Ok(id) = removed.id.parse() else { continue };
        let kind = LeftoverKind::Removed { id };
        found.push(Leftover { pool_id, kind, bytes: removed.allocated });
    }
    let unnamed = |id: StoredId| !named.stored.contains(&(pool_id, id));
    let leftover = |id, bytes| Leftover { pool_id, kind: LeftoverKind::Unnamed { id }, bytes };
    for id in pool.volumes()?.into_iter().filter(|id| unnamed(StoredId::Volume(*id))) {
        found.extend(pool.volume(id)?.map(|one| leftover(StoredId::Volume(id), one.allocated)));
    }
    for id in pool.snapshots()?.into_iter().filter(|id| unnamed(StoredId::Snapshot(*id))) {
        found.extend(pool.snapshot(id)?.map(|one| leftover(StoredId::Snapshot(id), one.allocated)));
    }
    for digest in pool.bases()?.into_iter().filter(|digest| !named.images.contains(&(pool_id, *digest))) {
        let kind = LeftoverKind::Base { digest };
        found.extend(pool.base(digest)?.map(|base| Leftover { pool_id, kind, bytes: base.allocated }));
    }
    // What was removed first, and goes first, comes first.
    found.truncate(MOST_LEFTOVERS);
    Ok(found)
}
