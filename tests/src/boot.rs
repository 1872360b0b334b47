//! Boots of the tiny guest under QEMU's emulation.

use std::time::{Duration, Instant};

/// What every line of the guest begins with.
const LINE: &str = "tepui-tiny:";
/// A boot takes seconds, and half a minute beside twenty others.
const PATIENCE: Duration = Duration::from_secs(75);

/// Notices a guest that hangs: about one of 250 emulated boots stops before the first line, with nothing of
/// ours to blame. Its reset is pressed once, and what its console held is told; a second hang fails the test,
/// and so does one after any line of the guest.
pub(crate) struct FirstBoot {
    since: Instant,
    again: bool,
}

impl FirstBoot {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), again: false }
    }

    /// Whether reset is to be pressed now.
    pub(crate) fn hangs(&mut self, id: &str, console: &str) -> bool {
        if self.again || console.contains(LINE) || self.since.elapsed() < PATIENCE {
            return false;
        }
        self.again = true;
        eprintln!("{id} hung before its first line and is reset once; its console: {console:?}");
        true
    }
}
