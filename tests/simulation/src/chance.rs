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

/// The control plane's wall clock, in milliseconds. It can be set, as by an operator or by NTP.
pub(crate) struct WallClock(AtomicI64);

impl WallClock {
    /// Begins in January 2027.
    pub(crate) fn new() -> Self {
        Self(AtomicI64::new(1_800_000_000_000))
    }

    /// Time passes.
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Somebody sets it.
    pub(crate) fn jump(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(Ordering::SeqCst)).unwrap_or(Timestamp::MAX)
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
