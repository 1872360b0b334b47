//! Named points between the durable steps of each operation, where a test may cut it off. Inert
//! unless a test installs a hook, directly or by the control plane's `TEPUI_FAILPOINT`: one load of an
//! empty cell.

use std::sync::OnceLock;

use crate::Error;

/// What a test wants at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Continue,
    /// Leave the operation here, as if the process had died; what is durable stays.
    Die,
}

/// The steps of every operation, in order. A test walks this list and fails for a step that no
/// operation passes.
pub const STEPS: &[(&str, &[&str])] = &[
    ("run", &["core::run::planned", "core::run::committed", "core::run::woken"]),
    ("start", &["core::start::checked", "core::start::committed", "core::start::woken"]),
    ("stop", &["core::stop::checked", "core::stop::committed", "core::stop::woken"]),
    ("reboot", &["core::reboot::checked", "core::reboot::committed", "core::reboot::woken"]),
    ("terminate", &["core::terminate::checked", "core::terminate::committed", "core::terminate::woken"]),
    ("report", &["core::report::planned", "core::report::applied", "core::report::woken"]),
];

static HOOK: OnceLock<fn(&'static str) -> Verdict> = OnceLock::new();

/// Installs the hook of this process; a second one is ignored. For tests.
pub fn install(hook: fn(&'static str) -> Verdict) {
    let _first_wins = HOOK.set(hook);
}

/// Passes the point `step`.
pub(crate) fn pass(step: &'static str) -> Result<(), Error> {
    match HOOK.get().map_or(Verdict::Continue, |hook| hook(step)) {
        Verdict::Continue => Ok(()),
        Verdict::Die => Err(Error::Internal { what: format!("cut off at {step}") }),
    }
}
