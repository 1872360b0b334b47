//! Volumes on their way to other pools, and what stays in pools that are drained of what they hold.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tepui_db::model::{HeldBy, MoveStage, VolumeMove};
use tepui_types::PoolId;

use super::overdue::age;
use super::{Finding, failure, warning};
use crate::{PoolLeaving, PoolView};

/// Between two pools a volume is for as long as two hosts take to hear and answer.
const DEADLINE: Duration = Duration::from_secs(300);

/// Volumes that one line shows.
const SHOWN: usize = 3;

pub(super) fn findings(pools: &[PoolView], moves: &[VolumeMove], now: Timestamp) -> Vec<Finding> {
    let names: BTreeMap<PoolId, &str> =
        pools.iter().map(|view| (view.load.pool.id, view.load.pool.name.as_str())).collect();
    let name = |id: &PoolId| names.get(id).copied().unwrap_or("a pool that is gone");
    let of_moves = moves.iter().filter_map(|one| moved(one, (name(&one.from_pool), name(&one.to_pool)), now));
    of_moves.chain(pools.iter().flat_map(of_pool)).collect()
}

fn moved(one: &VolumeMove, (from, to): (&str, &str), now: Timestamp) -> Option<Finding> {
    let object = format!("volume {}", one.volume_id);
    match one.stage {
        // It takes as long as its bytes do. What its hosts say of it is a finding of its own.
        MoveStage::Copying => None,
        MoveStage::Leaving | MoveStage::Arriving => {
            age(one.since, now).filter(|age| *age > DEADLINE)?;
            let waits_for = if one.stage == MoveStage::Leaving { from } else { to };
            let what = format!(
                "is on its way from pool {from} to pool {to} since {}, and cannot be attached: it waits for the host of {waits_for}",
                one.since
            );
            Some(failure(
                object,
                what,
                "start tepui-node on that host and mend what it says of the volume, or give it up: tepui node expunge",
            ))
        }
        MoveStage::Failed => {
            let why = one.message.as_deref().unwrap_or("what it holds could not be copied");
            let what = format!("stays in pool {from}, it could not be moved to {to}: {why}");
            Some(warning(object, what, format!("tepui volume move {} --pool POOL", one.volume_id)))
        }
    }
}

fn of_pool(view: &PoolView) -> Vec<Finding> {
    let Some(leaving) = &view.leaving else { return Vec::new() };
    let name = &view.load.pool.name;
    let object = || format!("pool {name}");
    let mut findings = Vec::new();
    if leaving.waiting > 0 && leaving.moving == 0 {
        let what = format!("is drained, and {} volumes wait for another pool to go to", leaving.waiting);
        let cure = format!("tepui pool create, or undrain one of the class {}", view.load.pool.class);
        findings.push(warning(object(), what, cure));
    }
    if !leaving.held.is_empty() {
        let what = format!("is drained, and volumes in use stay: {}", held(leaving));
        let cure = "detach each, or delete the instance that boots from it; it goes by itself then";
        findings.push(warning(object(), what, cure));
    }
    if view.load.snapshots > 0 {
        let what = format!("is drained, and {} snapshots stay", view.load.snapshots);
        let cure = "their owners copy them to another pool (aws ec2 copy-snapshot), or delete them";
        findings.push(warning(object(), what, cure));
    }
    if view.load.volumes == 0 && view.load.snapshots == 0 {
        findings.push(warning(object(), "is drained and empty", format!("tepui pool delete {name}")));
    }
    findings
}

fn held(leaving: &PoolLeaving) -> String {
    let shown = leaving.held.iter().take(SHOWN).map(|(volume, by)| match by {
        HeldBy::Instance(instance) => format!("{volume} ({instance} has it)"),
        HeldBy::Root(instance) => format!("{volume} ({instance} boots from it)"),
        HeldBy::State => format!("{volume} (it is not available)"),
    });
    let shown: Vec<_> = shown.collect();
    let more = leaving.held.len().saturating_sub(SHOWN);
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}
