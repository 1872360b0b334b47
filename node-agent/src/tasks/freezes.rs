//! Has guests hold still and go on as the ledger wants, each beside all else: a guest that does not answer holds up nobody.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::Context;

pub(super) async fn run(context: Arc<Context>) {
    let shared = &context.shared;
    let mut holds = JoinSet::new();
    shared.freezes.thaw_leftovers(&mut holds);
    loop {
        let part = shared.ledger().wanted().node;
        shared.freezes.apply(&part, &mut holds);
        shared.wake.notify_one();
        tokio::select! {
            () = shared.freezes.wake.notified() => {}
            Some(ended) = holds.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "a task that holds a guest still died; the agent thaws it when it starts anew");
                return;
            }
        }
    }
}
