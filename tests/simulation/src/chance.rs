//! Time and chance of the control plane.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use sha2::{Digest as _, Sha256};
use tepui_core::{Clock, Entropy, IdentitySigner};

/// The control plane's clocks, in milliseconds. That of the day can be set, as by an operator or by NTP.
pub struct WallClock {
    day: AtomicI64,
    steady: AtomicI64,
}

impl WallClock {
    /// Begins in January 2027.
    pub(crate) fn new() -> Self {
        let begin = || AtomicI64::new(1_800_000_000_000);
        Self { day: begin(), steady: begin() }
    }

    /// Time passes.
    pub fn advance(&self, by: Duration) {
        let passed = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.day.fetch_add(passed, Ordering::SeqCst);
        self.steady.fetch_add(passed, Ordering::SeqCst);
    }

    /// Somebody sets it.
    pub(crate) fn jump(&self, seconds: i64) {
        self.day.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.day.load(Ordering::SeqCst)).unwrap_or(Timestamp::MAX)
    }

    fn steady(&self) -> Timestamp {
        Timestamp::from_millisecond(self.steady.load(Ordering::SeqCst)).unwrap_or(Timestamp::MAX)
    }
}

/// Ids and secrets that repeat with the seed.
pub(crate) struct SeededEntropy(Mutex<StdRng>);

impl SeededEntropy {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
    }
}

/// Nobody reads the signatures; they must only repeat.
pub(crate) struct DigestSigner;

impl IdentitySigner for DigestSigner {
    fn sign(&self, document: &str) -> String {
        format!("{:x}", Sha256::digest(document))
    }
}
