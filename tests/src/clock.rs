//! The agents of a simulated cloud under a wall clock that the test sets. libfaketime shows it to them; the time
//! that only passes stays.

use std::fs;
use std::path::PathBuf;
use std::process::Child;

use crate::{Cloud, Daemon};

/// Of Debian's package libfaketime.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Agents with a clock of their own; killed when dropped.
#[derive(Debug)]
pub struct Clocked {
    child: Child,
    /// What the library reads at each look at the clock.
    off: PathBuf,
}

impl Cloud {
    /// Replaces the agents of a simulated cloud by ones whose clock is off by so much, for example `+10d`.
    #[track_caller]
    pub fn start_clocked_agents(&self, off: &str) -> Clocked {
        let file = self.scratch().join("clock");
        set(&file, off);
        let child = self.replace(
            Daemon::Agent,
            &[
                ("LD_PRELOAD", LIBRARY),
                ("FAKETIME_TIMESTAMP_FILE", &file.to_string_lossy()),
                ("FAKETIME_NO_CACHE", "1"),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ],
        );
        Clocked { child, off: file }
    }
}

impl Clocked {
    /// Sets the clock of the agents, which run on.
    #[track_caller]
    pub fn set(&self, off: &str) {
        set(&self.off, off);
    }
}

/// In one step: the agents may read it at any time.
#[track_caller]
fn set(file: &PathBuf, off: &str) {
    let next = file.with_extension("next");
    let written = fs::write(&next, off).and_then(|()| fs::rename(&next, file));
    assert!(written.is_ok(), "{}: {written:?}", file.display());
}

impl Drop for Clocked {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
