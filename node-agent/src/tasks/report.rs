//! Reports what is observed: at once when it changes or the control plane asks for it, and every now and
//! then for what changes all the time. The polls are the sign of life.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tepui_types::agent::{NodeObserved, NodeUsage, Report};
use tokio::sync::watch;

use super::Context;
use crate::link::Pauses;
use crate::reconcile::Observed;

/// Between two reports without news, in milliseconds: they carry the free space of the disk. Spread, so
/// that nodes which started together do not report together.
const WITHOUT_NEWS_MS: std::ops::Range<u64> = 240_000..360_000;

pub(super) async fn run(context: Arc<Context>, mut observed: watch::Receiver<Observed>) {
    let mut random = SmallRng::seed_from_u64(context.run);
    let mut pauses = Pauses::new(context.run.rotate_left(1));
    let mut sequence = 0;
    loop {
        let seen = observed.borrow_and_update().clone();
        if seen.looked || seen.impaired.is_some() {
            sequence += 1;
            let report = report(&context, sequence, seen);
            match context.control_plane.report(&report).await {
                Ok(_) => {
                    pauses.over();
                    context.reported.send_replace(sequence);
                    let acknowledged = &context.shared.acknowledged;
                    *acknowledged.lock().unwrap_or_else(PoisonError::into_inner) = report.observed.applied;
                }
                Err(error) => {
                    tracing::warn!(message = crate::chain(&error), "report failed");
                    pauses.next().await;
                    continue;
                }
            }
        }
        let pause = Duration::from_millis(random.random_range(WITHOUT_NEWS_MS));
        tokio::select! {
            changed = observed.changed() => if changed.is_err() { return },
            () = context.report_wanted.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn report(context: &Context, sequence: u64, seen: Observed) -> Report {
    let disk_free_bytes = context.shared.executor.disks.free_bytes();
    Report {
        epoch: context.shared.ledger().epoch(),
        agent_run: context.run,
        sequence,
        observed: NodeObserved {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: context.boot_id.clone(),
            capacity: context.capacity,
            usage: NodeUsage { disk_free_bytes },
            applied: seen.applied,
            refused: seen.refused,
            placements: seen.placements,
            impaired: seen.impaired,
            storage: seen.storage,
            io: seen.io,
            stalled: seen.stalled,
            findings: seen.findings,
        },
    }
}
