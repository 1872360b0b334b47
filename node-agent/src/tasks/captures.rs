//! Removes the captures that an earlier life of the agent left.

use std::sync::Arc;
use std::time::Duration;

use super::Context;

/// Until the next try.
const AGAIN: Duration = Duration::from_secs(2);

pub(super) async fn run(context: Arc<Context>) {
    while let Err(error) = context.shared.executor.captures.tidy().await {
        tracing::warn!(message = crate::chain(&error), "cannot remove the captures that were left");
        tokio::time::sleep(AGAIN).await;
    }
    // A loop of the agent that ended would be one that died.
    std::future::pending().await
}
