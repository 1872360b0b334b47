//! Asks why guests stand still that do.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Context;
use crate::reconcile::Observed;

/// Between two questions while guests stand still.
const AGAIN: Duration = Duration::from_secs(5);

pub(super) async fn run(context: Arc<Context>, mut observed: watch::Receiver<Observed>) {
    let shared = &context.shared;
    loop {
        let still = observed.borrow_and_update().still.clone();
        if shared.volumes.ask_stalled(&still).await {
            shared.wake.notify_one();
        }
        tokio::select! {
            changed = observed.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if !still.is_empty() => {}
        }
    }
}
