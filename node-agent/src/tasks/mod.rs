//! The agent's loops beside the reconciler. None waits for another; they meet in the ledger, in what is
//! observed, and in wake-ups.

mod housekeeping;
mod network;
mod poll;
mod renewal;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tepui_types::Timestamp;
use tepui_types::agent::NodeCapacity;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::identity::Identity;
use crate::link::ControlPlane;
use crate::reconcile::{Observed, Shared};

/// What the loops share.
pub(crate) struct Context {
    pub(crate) shared: Arc<Shared>,
    pub(crate) control_plane: Arc<ControlPlane>,
    pub(crate) identity_dir: PathBuf,
    pub(crate) consoles: PathBuf,
    pub(crate) boot_id: String,
    pub(crate) capacity: NodeCapacity,
    pub(crate) run: u64,
    pub(crate) clock: fn() -> Timestamp,
}

/// Starts them all.
pub(crate) fn spawn(
    context: Context,
    identity: Identity,
    observed: watch::Receiver<Observed>,
) -> JoinSet<()> {
    let context = Arc::new(context);
    let mut tasks = JoinSet::new();
    tasks.spawn(poll::run(Arc::clone(&context)));
    tasks.spawn(report::run(Arc::clone(&context), observed));
    tasks.spawn(network::run(Arc::clone(&context)));
    tasks.spawn(renewal::run(Arc::clone(&context), identity));
    tasks.spawn(housekeeping::run(context));
    tasks
}

/// Waits between tries, with jitter, so that a control plane which comes back is not met by all its
/// nodes at once.
struct Pauses {
    run: u64,
    backoff: ExponentialBackoff,
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

impl Pauses {
    fn new(run: u64) -> Self {
        let builder = ExponentialBuilder::default()
            .with_min_delay(SHORTEST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .without_max_times()
            .with_jitter()
            .with_jitter_seed(run);
        Self { run, backoff: builder.build() }
    }

    async fn next(&mut self) {
        let pause = self.backoff.next().unwrap_or(LONGEST_PAUSE);
        tokio::time::sleep(pause).await;
    }

    fn over(&mut self) {
        *self = Self::new(self.run);
    }
}
