//! The points between the durable steps of each operation, where a test may cut it off.

use tepui_types::failpoint;

use crate::Error;

/// The steps of every operation, in order. A test walks this list and fails for a step that no
/// operation passes.
pub const STEPS: &[(&str, &[&str])] = &[
    ("run", &["core::run::planned", "core::run::committed", "core::run::woken"]),
    ("start", &["core::start::checked", "core::start::committed", "core::start::woken"]),
    ("stop", &["core::stop::checked", "core::stop::committed", "core::stop::woken"]),
    ("reboot", &["core::reboot::checked", "core::reboot::committed", "core::reboot::woken"]),
    ("terminate", &["core::terminate::checked", "core::terminate::committed", "core::terminate::woken"]),
    ("rules", &["core::rules::checked", "core::rules::committed", "core::rules::woken"]),
    ("import", &["core::import::begun", "core::import::stored", "core::import::completed"]),
    ("enrol", &["core::enrol::enrolled", "core::enrol::woken", "core::enrol::certified"]),
    ("drain", &["core::drain::checked", "core::drain::committed"]),
    ("expunge", &["core::expunge::checked", "core::expunge::committed", "core::expunge::woken"]),
    ("report", &["core::report::planned", "core::report::applied", "core::report::woken"]),
];

/// Passes the point `step`. An armed one leaves the operation here, as if the process had died; what is
/// durable stays.
pub(crate) fn pass(step: &'static str) -> Result<(), Error> {
    failpoint::hit(step).map_err(|_| Error::Internal { what: format!("cut off at {step}") })
}
