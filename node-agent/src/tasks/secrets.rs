//! Has the hypervisor keep passwords of volumes no longer than guests need them. Guests that are given disks do not wait for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Context;
use crate::reconcile::Observed;
use crate::volumes::SecretKeeper;

/// Between two tries while a guest is given a disk, or the hypervisor does not answer.
const AGAIN: Duration = Duration::from_secs(5);
/// Between two looks where all is as wanted; any news ends it.
const SETTLED: Duration = Duration::from_secs(3600);

pub(super) async fn run(context: Arc<Context>, mut observed: watch::Receiver<Observed>) {
    let shared = &context.shared;
    let mut secrets = SecretKeeper::new(Arc::clone(&shared.executor.hypervisor));
    loop {
        let (part, seen) = (shared.ledger().wanted().node, observed.borrow_and_update().placements.clone());
        let left = secrets.apply(&part, &seen, |id| shared.volumes.seen(id)).await;
        tokio::select! {
            changed = observed.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(if left { AGAIN } else { SETTLED }) => {}
        }
    }
}
