//! Remembers for one boot of the host that guests run on KVM: measuring it again at each start of the
//! agent could go wrong on a busy host, and guests would silently be emulated. That KVM is too slow is not
//! remembered, for the same reason.

use std::path::Path;

use tepui_libvirt::{Accelerator, AcceleratorPreference, Probe};

use crate::durable;

/// Chooses the accelerator by `probe`, unless KVM was found good since the host booted.
pub fn choose(
    data_dir: &Path,
    boot_id: &str,
    preference: AcceleratorPreference,
    probe: impl FnOnce(AcceleratorPreference) -> Probe,
) -> Probe {
    let path = data_dir.join("kvm-is-fast");
    if preference != AcceleratorPreference::Auto {
        return probe(preference);
    }
    if std::fs::read_to_string(&path).is_ok_and(|boot| boot == boot_id) {
        return Probe { accelerator: Accelerator::Kvm, reason: "measured since the host booted".into() };
    }
    let probe = probe(preference);
    if probe.accelerator == Accelerator::Kvm
        && let Err(error) = durable::write(&path, boot_id.as_bytes(), 0o600)
    {
        tracing::warn!(path = %path.display(), %error, "cannot remember the accelerator");
    }
    probe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_is_remembered_until_the_next_boot_and_tcg_never() {
        use AcceleratorPreference::{Auto, Tcg};
        let dir = tempfile::tempdir().unwrap();
        let choose = |boot, preference, found| {
            let probe = |_| Probe { accelerator: found, reason: String::new() };
            super::choose(dir.path(), boot, preference, probe).accelerator
        };
        assert_eq!(choose("boot-1", Auto, Accelerator::Tcg), Accelerator::Tcg);
        assert_eq!(choose("boot-1", Auto, Accelerator::Kvm), Accelerator::Kvm);
        assert_eq!(choose("boot-1", Auto, Accelerator::Tcg), Accelerator::Kvm);
        assert_eq!(choose("boot-1", Tcg, Accelerator::Tcg), Accelerator::Tcg);
        assert_eq!(choose("boot-2", Auto, Accelerator::Tcg), Accelerator::Tcg);
    }
}
