//! The composition root's own time and chance: the only place of the control plane that asks the
//! operating system for either.

use std::sync::LazyLock;
use std::time::Instant;

use jiff::Timestamp;
use rand::TryRngCore;
use rand::rngs::OsRng;
use tepui_core::{Clock, Entropy};

/// When this process first asked for the time, by both of the machine's clocks.
#[expect(clippy::disallowed_methods, reason = "the composition root owns the clock")]
static BEGIN: LazyLock<(Timestamp, Instant)> = LazyLock::new(|| (Timestamp::now(), Instant::now()));

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the composition root owns the clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn steady(&self) -> Timestamp {
        let (at, since) = &*BEGIN;
        at.saturating_add(since.elapsed()).unwrap_or(*at)
    }
}

/// The kernel's random bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::expect_used, reason = "without random bytes no key may be made and no id is unique")]
    fn fill(&self, bytes: &mut [u8]) {
        OsRng.try_fill_bytes(bytes).expect("the kernel has random bytes");
    }
}
