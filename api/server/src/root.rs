//! The composition root's own time and chance: the only place of the control plane that asks the
//! operating system for either.

use jiff::Timestamp;
use rand::TryRngCore;
use rand::rngs::OsRng;
use tepui_core::{Clock, Entropy};

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the composition root owns the clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
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
