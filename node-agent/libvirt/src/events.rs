//! libvirt's event loop. Keep-alive messages and the end of a connection are seen by it alone;
//! without it a call to a hanging libvirtd would wait for ever.

use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use virt::event::{event_register_default_impl, event_run_default_impl};

/// A pause after a failed turn, so that a lasting failure cannot take a whole processor.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Starts the loop once for the process; it has to run before the first connection is opened.
pub(crate) fn ensure_running() -> Result<(), String> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    STARTED.get_or_init(start).clone()
}

fn start() -> Result<(), String> {
    // libvirt would print each error to the process's standard error besides returning it.
    virt::error::clear_error_callback();
    event_register_default_impl().map_err(|error| error.message().to_owned())?;
    let spawned = thread::Builder::new().name("libvirt-events".into()).spawn(run);
    spawned.map(drop).map_err(|error| error.to_string())
}

fn run() {
    loop {
        if let Err(error) = event_run_default_impl() {
            tracing::warn!(%error, "a turn of libvirt's event loop failed");
            thread::sleep(AFTER_FAILURE);
        }
    }
}
