//! The agent's loops beside the reconciler. None waits for another; they meet in the ledger, in what is
//! observed, and in wake-ups.

mod captures;
mod counters;
mod freezes;
mod housekeeping;
mod network;
mod poll;
mod renewal;
mod report;
mod rounds;
mod secrets;
mod sending;
mod stalls;
mod storage;
mod volumes;

use std::path::PathBuf;
use std::sync::Arc;

use tepui_types::Timestamp;
use tepui_types::agent::NodeCapacity;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::identity::Identity;
use crate::link::ControlPlane;
use crate::reconcile::{Observed, Shared};
use crate::storage::PoolSettings;

/// What the loops share.
pub(crate) struct Context {
    pub(crate) shared: Arc<Shared>,
    pub(crate) control_plane: Arc<ControlPlane>,
    pub(crate) identity_dir: PathBuf,
    pub(crate) consoles: PathBuf,
    /// How volumes are served; `None` where that is simulated.
    pub(crate) servers: Option<PoolSettings>,
    pub(crate) boot_id: String,
    pub(crate) capacity: NodeCapacity,
    pub(crate) run: u64,
    pub(crate) clock: fn() -> Timestamp,
    /// The sequence of the last report that was answered.
    pub(crate) reported: watch::Sender<u64>,
    /// The control plane asks for a report.
    pub(crate) report_wanted: Notify,
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
    tasks.spawn(volumes::run(Arc::clone(&context), observed.clone()));
    tasks.spawn(secrets::run(Arc::clone(&context), observed.clone()));
    tasks.spawn(stalls::run(Arc::clone(&context), observed.clone()));
    tasks.spawn(counters::run(Arc::clone(&context)));
    if context.servers.is_some() {
        tasks.spawn(rounds::run(Arc::clone(&context)));
    }
    tasks.spawn(captures::run(Arc::clone(&context)));
    tasks.spawn(freezes::run(Arc::clone(&context)));
    tasks.spawn(report::run(Arc::clone(&context), observed));
    tasks.spawn(network::run(Arc::clone(&context)));
    tasks.spawn(storage::run(Arc::clone(&context)));
    tasks.spawn(renewal::run(Arc::clone(&context), identity));
    tasks.spawn(housekeeping::run(context));
    tasks
}
