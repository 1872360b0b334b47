//! How all hosts stand, told as lines of JSON.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

const PERIOD: Duration = Duration::from_millis(100);

/// The counters.
pub(crate) struct Tally {
    agents: usize,
    connected: AtomicUsize,
    back: AtomicUsize,
    guests: AtomicUsize,
    handshakes: AtomicU64,
    reports: AtomicU64,
    failures: AtomicU64,
    last_failure: Mutex<String>,
}

#[derive(Serialize, PartialEq, Eq)]
struct State {
    /// All hosts.
    agents: usize,
    /// Those with an open connection.
    connected: usize,
    /// Those that the control plane heard on it, and whose report it has.
    back: usize,
    /// Guests that run on them.
    guests: usize,
    /// Connections that were opened.
    handshakes: u64,
    /// Reports that were answered.
    reports: u64,
    /// Connections that failed or broke.
    failures: u64,
    /// Why the last one did.
    last_failure: String,
}

impl Tally {
    pub(crate) fn new(agents: usize) -> Self {
        Self {
            agents,
            connected: AtomicUsize::new(0),
            back: AtomicUsize::new(0),
            guests: AtomicUsize::new(0),
            handshakes: AtomicU64::new(0),
            reports: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            last_failure: Mutex::default(),
        }
    }

    pub(crate) fn failed(&self, error: &anyhow::Error) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = format!("{error:#}");
    }

    pub(crate) fn reported(&self) {
        self.reports.fetch_add(1, Ordering::Relaxed);
    }

    /// A host's running guests, before and now.
    pub(crate) fn guests(&self, before: usize, now: usize) {
        self.guests.fetch_add(now, Ordering::Relaxed);
        self.guests.fetch_sub(before, Ordering::Relaxed);
    }

    /// Tells the state whenever it changed, for ever.
    pub(crate) async fn tell(&self) -> anyhow::Result<()> {
        let mut told = None;
        loop {
            let state = self.state();
            if told.as_ref() != Some(&state) {
                writeln!(std::io::stdout(), "{}", serde_json::to_string(&state)?)?;
                told = Some(state);
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    fn state(&self) -> State {
        State {
            agents: self.agents,
            connected: self.connected.load(Ordering::Relaxed),
            back: self.back.load(Ordering::Relaxed),
            guests: self.guests.load(Ordering::Relaxed),
            handshakes: self.handshakes.load(Ordering::Relaxed),
            reports: self.reports.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            last_failure: self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// One host's part in the counters, until it is dropped.
pub(crate) struct Standing {
    tally: Arc<Tally>,
    connected: bool,
    back: bool,
}

impl Standing {
    pub(crate) fn new(tally: Arc<Tally>) -> Self {
        Self { tally, connected: false, back: false }
    }

    pub(crate) fn connected(&mut self) {
        self.connected = true;
        self.tally.connected.fetch_add(1, Ordering::Relaxed);
        self.tally.handshakes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn is_back(&mut self) {
        if !std::mem::replace(&mut self.back, true) {
            self.tally.back.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.tally.connected.fetch_sub(usize::from(self.connected), Ordering::Relaxed);
        self.tally.back.fetch_sub(usize::from(self.back), Ordering::Relaxed);
    }
}
