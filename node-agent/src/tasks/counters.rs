//! Reads now and then what guests did with their volumes.

use std::sync::Arc;
use std::time::Duration;

use super::Context;

/// Each reading that brings news is a report. A reading is one call of libvirt, however many guests there are, and none
/// where no guest has a volume.
const EVERY: Duration = Duration::from_secs(30);

pub(super) async fn run(context: Arc<Context>) {
    let shared = &context.shared;
    loop {
        tokio::time::sleep(EVERY).await;
        if shared.volumes.count().await {
            shared.wake.notify_one();
        }
    }
}
