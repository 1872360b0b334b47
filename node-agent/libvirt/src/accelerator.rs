//! Hardware virtualization or emulation.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::kvm;

/// How QEMU runs guest code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// On the processor.
    Kvm,
    /// Translated by QEMU.
    Tcg,
}

/// What the configuration says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AcceleratorPreference {
    /// Measure.
    #[default]
    Auto,
    /// KVM without a question.
    Kvm,
    /// TCG without a question.
    Tcg,
}

/// The outcome of [`probe_accelerator`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What to use.
    pub accelerator: Accelerator,
    /// Why, for the log.
    pub reason: String,
}

/// A guest loop that takes longer runs on an emulated KVM: hardware needs a hundredth of it.
const SLOWEST: Duration = Duration::from_millis(5);

/// A busy host or a signal can spoil one run, hardly all of these.
const RUNS: usize = 3;

/// Chooses the accelerator. With [`AcceleratorPreference::Auto`] it runs a tiny guest on KVM and
/// takes its time, because `/dev/kvm` also opens where KVM is too slow to boot anything. It blocks
/// for at most three seconds; the result holds until the host boots again.
pub fn probe_accelerator(preference: AcceleratorPreference) -> Probe {
    match preference {
        AcceleratorPreference::Kvm => Probe { accelerator: Accelerator::Kvm, reason: "configured".into() },
        AcceleratorPreference::Tcg => Probe { accelerator: Accelerator::Tcg, reason: "configured".into() },
        AcceleratorPreference::Auto => judge(best(kvm::time_guest_loop)),
    }
}

/// The fastest of the runs; no more of them than needed.
fn best(mut run: impl FnMut() -> Result<Duration, String>) -> Result<Duration, String> {
    let mut best = run();
    for _ in 1..RUNS {
        if best.as_ref().is_ok_and(|time| *time <= SLOWEST) {
            break;
        }
        best = match (best, run()) {
            (Ok(one), Ok(other)) => Ok(one.min(other)),
            (Ok(time), Err(_)) => Ok(time),
            (Err(_), next) => next,
        };
    }
    best
}

fn judge(run: Result<Duration, String>) -> Probe {
    match run {
        Ok(time) => Probe {
            accelerator: if time <= SLOWEST { Accelerator::Kvm } else { Accelerator::Tcg },
            reason: format!("a KVM guest took {time:?} for {} loop turns", kvm::ITERATIONS),
        },
        Err(reason) => Probe { accelerator: Accelerator::Tcg, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_wins_over_measurement() {
        for (preference, accelerator) in
            [(AcceleratorPreference::Kvm, Accelerator::Kvm), (AcceleratorPreference::Tcg, Accelerator::Tcg)]
        {
            assert_eq!(probe_accelerator(preference).accelerator, accelerator);
        }
    }

    #[test]
    fn a_run_that_a_busy_host_spoiled_does_not_choose_tcg() {
        let mut runs = vec![Ok(SLOWEST), Ok(SLOWEST * 9), Err("interrupted".to_owned())];
        assert_eq!(judge(best(|| runs.pop().unwrap())).accelerator, Accelerator::Kvm);
        let mut runs = 0;
        let slow = best(|| {
            runs += 1;
            Ok(SLOWEST * (9 - runs))
        });
        assert_eq!((slow, runs), (Ok(SLOWEST * 6), 3));
    }

    #[test]
    fn only_a_fast_guest_chooses_kvm() {
        assert_eq!(judge(Ok(SLOWEST)).accelerator, Accelerator::Kvm);
        assert_eq!(judge(Ok(SLOWEST * 2)).accelerator, Accelerator::Tcg);
        assert_eq!(judge(Err("did not end".into())).accelerator, Accelerator::Tcg);
    }
}
