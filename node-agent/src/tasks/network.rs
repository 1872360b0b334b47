//! Applies the wanted network when it changes, also where no start waits for it, and again from time to
//! time: somebody else may have changed the host.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Context;

const AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// A look at a host on which all stands costs about a millisecond for each VPC.
const AGAIN: Duration = Duration::from_secs(30);

pub(super) async fn run(context: Arc<Context>) {
    let network = &context.shared.executor.network;
    loop {
        let result = network.ensure().await;
        let pause = if result.is_ok() { AGAIN } else { AGAIN_AFTER_FAILURE };
        note(&context, result.err().map(|error| crate::chain(&error)));
        tokio::select! {
            () = context.shared.network_wake.notified() => {}
            () = tokio::time::sleep(pause) => network.doubt().await,
        }
    }
}

fn note(context: &Context, trouble: Option<String>) {
    let mut noted = context.shared.network_trouble.lock().unwrap_or_else(PoisonError::into_inner);
    if *noted != trouble {
        if let Some(message) = &trouble {
            tracing::error!(%message, "the network is not as wanted");
        }
        *noted = trouble;
        context.shared.wake.notify_one();
    }
}
