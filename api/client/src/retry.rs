//! Patience with passing faults.

use std::time::Duration;

use backon::ExponentialBuilder;

/// Four tries within about three seconds: enough for a control plane that restarts (under a second),
/// short enough for a person who waits.
pub(crate) fn policy() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_factor(2.5)
        .with_max_times(3)
        .with_jitter()
}

/// An upload of an hour deserves more tries than a question of a millisecond: about half a minute.
pub(crate) fn patient_policy() -> ExponentialBuilder {
    policy().with_max_times(8).with_max_delay(Duration::from_secs(10))
}
