//! Keeps the disks of running guests as they are wanted.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Context;
use crate::reconcile::Observed;

/// Between two tries while a guest has not let go of a disk, or could not be given one.
const AGAIN: Duration = Duration::from_secs(2);
/// Between two looks where all is as wanted; any news ends it.
const SETTLED: Duration = Duration::from_secs(3600);

pub(super) async fn run(context: Arc<Context>, mut observed: watch::Receiver<Observed>) {
    let shared = &context.shared;
    loop {
        let (part, seen) = (shared.ledger().wanted().node, observed.borrow_and_update().clone());
        let (news, left) = shared.volumes.apply(&part, &seen.placements).await;
        if news {
            shared.wake.notify_one();
        }
        tokio::select! {
            () = shared.volumes.wake.notified() => {}
            changed = observed.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(if left { AGAIN } else { SETTLED }) => {}
        }
    }
}
