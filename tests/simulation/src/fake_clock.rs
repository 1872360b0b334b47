//! A runtime whose time passes only when the simulation says so.

use std::time::Duration;

/// Runs the work to its end. It moves the clock by `tokio::time::advance`; nothing else does.
pub(crate) fn run<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    // One thread for blocking work, beside the one that is held below: what is begun first ends first, on
    // every run.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).max_blocking_threads(2).build()?;
    let result = runtime.block_on(async {
        // While a blocking task runs, the paused clock is never moved but by the simulation.
        let (guard, held) = std::sync::mpsc::channel::<()>();
        let holder = tokio::task::spawn_blocking(move || held.recv());
        let result = work.await;
        drop(guard);
        let _ = holder.await;
        result
    });
    runtime.shutdown_timeout(Duration::from_secs(10));
    result
}
