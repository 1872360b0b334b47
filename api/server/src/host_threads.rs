//! The threads on which hosts are served.
//!
//! After a restart every host comes back within seconds, each with a handshake and a few requests. On
//! threads of their own, which stand back behind the others, they take what the clients of the public
//! surface leave of the machine, and no client waits behind ten thousand of them.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

/// How far they stand back (nice(2)): a client's thread that wakes up goes first, and when all cores are
/// wanted the hosts still get a tenth of them.
const NICENESS: i32 = 10;
/// Time for what runs on them to end.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Threads for hosts, until it is dropped.
pub(crate) struct HostThreads {
    handle: Handle,
    /// Taken at the end.
    runtime: Option<Runtime>,
}

impl HostThreads {
    pub(crate) fn start() -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.enable_all().thread_name("hosts").on_thread_start(stand_back);
        let runtime = builder.build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Where to spawn.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends them; afterwards nothing that ran on them is left.
    pub(crate) async fn end(mut self) {
        if let Some(runtime) = self.runtime.take() {
            let ended = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(END_TIMEOUT));
            if let Err(error) = ended.await {
                tracing::warn!(%error, "the hosts' threads did not end");
            }
        }
    }
}

impl Drop for HostThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Of the calling thread alone: on Linux, niceness belongs to threads.
fn stand_back() {
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::warn!(%error, "the hosts' threads go side by side with the clients'");
    }
}
