//! Files in pools that the rows do not account for. Nothing removes them but an operator.

use std::collections::{BTreeMap, HashSet};

use tepui_db::StoragePartState;
use tepui_db::model::{SnapshotState, VolumeState};
use tepui_types::PoolId;
use tepui_types::agent::{LeftoverKind, StorageObserved, StoredId};

use super::{Finding, failure, warning};

/// Ids that one line shows.
const SHOWN: usize = 3;

pub(super) fn findings(part: &StoragePartState, seen: &StorageObserved) -> Vec<Finding> {
    let known = known(part);
    let mut unnamed: BTreeMap<PoolId, Vec<StoredId>> = BTreeMap::new();
    let mut findings = Vec::new();
    for leftover in &seen.leftovers {
        match leftover.kind {
            LeftoverKind::Unnamed { id } if !known.contains(&id) => {
                unnamed.entry(leftover.pool_id).or_default().push(id);
            }
            LeftoverKind::Removed { id } if is_kept(part, leftover.pool_id, id) => {
                let what = "its file lies in the trash of its pool: a backup of the control plane was restored that is older than its removal";
                let cure = "stop the agent of its host and move its folder back out of trash/, or delete it";
                findings.push(failure(kind(id), what, cure));
            }
            LeftoverKind::Unnamed { .. } | LeftoverKind::Removed { .. } | LeftoverKind::Base { .. } => {}
        }
    }
    findings.extend(unnamed.iter().filter_map(|(pool, ids)| {
        let name = &part.pools.iter().find(|one| one.id == *pool)?.name;
        let shown: Vec<_> = ids.iter().take(SHOWN).map(ToString::to_string).collect();
        let more = if ids.len() > SHOWN { ", …" } else { "" };
        let what = format!("{} files in it that no row names: {}{more}", ids.len(), shown.join(", "));
        let cure = format!(
            "tepui pool reclaim {name} lists them; they stay until you move them out of its folder on its host"
        );
        Some(warning(format!("pool {name}"), what, cure))
    }));
    findings
}

fn known(part: &StoragePartState) -> HashSet<StoredId> {
    let volumes = part.volumes.iter().map(|volume| StoredId::Volume(volume.id));
    volumes.chain(part.snapshots.iter().map(|snapshot| StoredId::Snapshot(snapshot.id))).collect()
}

/// The books have it in that pool, and not on its way out. What lies there by a move they know too.
fn is_kept(part: &StoragePartState, pool: PoolId, id: StoredId) -> bool {
    if part.quarantine.iter().any(|one| (one.pool_id, one.id) == (pool, id)) {
        return false;
    }
    match id {
        StoredId::Volume(id) => part.volumes.iter().any(|one| {
            let moves = part.moves.iter().any(|moved| moved.volume_id == id && moved.stage.is_between());
            (one.pool_id, one.id, one.state) == (pool, id, VolumeState::Available) && !moves
        }),
        StoredId::Snapshot(id) => part
            .snapshots
            .iter()
            .any(|one| (one.pool_id, one.id, one.state) == (pool, id, SnapshotState::Completed)),
    }
}

fn kind(id: StoredId) -> String {
    match id {
        StoredId::Volume(id) => format!("volume {id}"),
        StoredId::Snapshot(id) => format!("snapshot {id}"),
    }
}
