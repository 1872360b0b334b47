//! Renews the node's certificate when two thirds of its life are over.

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use crate::identity::{Identity, renew};

const LOOK_EVERY: Duration = Duration::from_secs(600);

pub(super) async fn run(context: Arc<Context>, mut identity: Identity) {
    loop {
        // Whose clock it is that decides. Before its first answer this host's own is all there is.
        let now = context.control_plane.now().unwrap_or_else(context.clock);
        if let Some(validity) = identity.validity()
            && validity.is_due(now)
        {
            if validity.is_over(now) {
                tracing::error!(
                    not_after = %validity.not_after,
                    "the node's certificate has expired, if this host's clock is right: guests run on, but the \
                     control plane will not answer. Run `tepui-node --config FILE join TOKEN` with a new join \
                     token, then restart the agent"
                );
            }
            try_renew(&context, &mut identity).await;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn try_renew(context: &Context, identity: &mut Identity) {
    match renew(&context.identity_dir, identity, &context.control_plane).await {
        Ok(renewed) => {
            tracing::info!("renewed the node's certificate");
            *identity = renewed;
        }
        Err(error) => tracing::warn!(message = crate::chain(&error), "cannot renew the node's certificate"),
    }
}
