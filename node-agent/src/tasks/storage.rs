//! Makes the host's pools as the ledger wants them, when that changes, when something that served volumes has ended or
//! that a volume waited for has come, and again from time to time.

use std::sync::Arc;
use std::time::Duration;

use super::Context;

/// Until the next look of a host without pools, which any news ends.
const WITHOUT_POOLS: Duration = Duration::from_secs(3600);

pub(super) async fn run(context: Arc<Context>) {
    let shared = &context.shared;
    loop {
        let wanted = shared.ledger().wanted().storage;
        let mut pause = WITHOUT_POOLS;
        if let Some(part) = wanted {
            let (news, again) = shared.storage.apply(&part).await;
            pause = again;
            if news {
                shared.wake.notify_one();
            }
        }
        tokio::select! {
            () = shared.storage.wake.notified() => {}
            () = shared.storage.arrived() => {}
            () = shared.storage.ended() => tracing::error!("what served the volumes has ended; it is started again"),
            () = tokio::time::sleep(pause) => {}
        }
    }
}
