//! The QEMU processes that use this host's disks, against libvirt's word.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use tepui_types::PlacementId;

use super::{Finding, Inventory, Subject, failure, is_live};

/// Process ids of the QEMU processes that have a disk of `disks` open for their guest.
pub type Processes = BTreeMap<PlacementId, Vec<i32>>;

/// Looks through all processes. One of another host on the same machine uses other disks.
pub fn processes(disks: &Path) -> io::Result<Processes> {
    let mut found = Processes::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ended meanwhile has none.
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if let Some(placement) = placement_of(&String::from_utf8_lossy(&command), disks) {
            found.entry(placement).or_default().push(pid);
        }
    }
    Ok(found)
}

/// Whose disk a command line of QEMU names.
fn placement_of(command: &str, disks: &Path) -> Option<PlacementId> {
    let program = Path::new(command.split('\0').next()?).file_name()?.to_str()?;
    if !program.starts_with("qemu") {
        return None;
    }
    let disk = format!("{}/", disks.display());
    command.split(&disk).skip(1).find_map(|rest| rest.split_once(".qcow2")?.0.parse().ok())
}

pub(super) fn findings(inventory: &Inventory) -> Vec<Finding> {
    let (Some(domains), Some(processes)) = (&inventory.domains, &inventory.processes) else {
        return Vec::new();
    };
    let unknown = processes.iter().filter(|(id, _)| !domains.get(id).is_some_and(is_live));
    let unknown = unknown.map(|(id, pids)| {
        let what = format!("its QEMU runs as process {}, and libvirt has no running domain of it", list(pids));
        let cure = "restart libvirtd, which takes it up again; if it does not and the guest is not needed, end the process";
        failure(Subject::Processes, id.to_string(), what, cure)
    });
    let dead = domains.iter().filter(|(id, state)| is_live(state) && !processes.contains_key(id));
    let dead = dead.map(|(id, _)| {
        let what = "libvirt says that it runs, and no QEMU process uses its disk";
        failure(
            Subject::Processes,
            id.to_string(),
            what,
            "restart libvirtd, which looks at its processes anew",
        )
    });
    let twice = processes.iter().filter(|(_, pids)| pids.len() > 1).map(|(id, pids)| {
        let what = format!("{} processes write to its disk: {}", pids.len(), list(pids));
        let cure = "end the one that libvirt does not know (`virsh qemu-monitor-command` answers for the other), then check the disk";
        failure(Subject::Processes, id.to_string(), what, cure)
    });
    unknown.chain(dead).chain(twice).collect()
}

fn list(pids: &[i32]) -> String {
    pids.iter().map(i32::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use tepui_libvirt::{DomainState, OffReason};

    use super::*;
    use crate::testing::placement;

    fn inventory(domain: Option<DomainState>, pids: &[i32]) -> Inventory {
        let id = placement(1);
        let processes = (!pids.is_empty()).then(|| (id, pids.to_vec())).into_iter().collect();
        let domains = domain.map(|state| (id, state)).into_iter().collect();
        Inventory { domains: Some(domains), processes: Some(processes), ..Inventory::default() }
    }

    fn found(domain: Option<DomainState>, pids: &[i32]) -> Vec<String> {
        findings(&inventory(domain, pids)).into_iter().map(|found| found.what).collect()
    }

    #[test]
    fn a_process_without_a_domain_and_a_domain_without_a_process_are_named() {
        let off = DomainState::Off { reason: OffReason::Requested };
        for fine in [(Some(DomainState::Running), &[7][..]), (Some(off), &[]), (None, &[])] {
            assert_eq!(found(fine.0, fine.1), Vec::<String>::new(), "{fine:?}");
        }
        for domain in [None, Some(off)] {
            assert!(found(domain, &[7])[0].contains("process 7"), "{domain:?}");
        }
        for live in [DomainState::Running, DomainState::Paused, DomainState::ShuttingDown] {
            assert!(found(Some(live), &[])[0].contains("no QEMU process"), "{live:?}");
        }
        assert!(
            found(Some(DomainState::Running), &[7, 8])[0].contains("2 processes write to its disk: 7, 8")
        );
    }

    #[test]
    fn what_could_not_be_asked_is_no_finding() {
        let silent = Inventory { domains: None, ..inventory(None, &[7]) };
        assert_eq!(findings(&silent), []);
    }

    #[test]
    fn a_process_is_known_by_the_disk_in_its_command_line() {
        let (id, disks) = (placement(1), Path::new("/var/lib/tepui/disks"));
        let command = |program: &str, path: &str| {
            format!("{program}\0-name\0guest=x\0-blockdev\0{{\"filename\":\"{path}\"}}\0")
        };
        let own = format!("/var/lib/tepui/disks/{id}.qcow2");
        assert_eq!(placement_of(&command("/usr/bin/qemu-system-x86_64", &own), disks), Some(id));
        let elsewhere = format!("/srv/other/disks/{id}.qcow2");
        assert_eq!(placement_of(&command("/usr/bin/qemu-system-x86_64", &elsewhere), disks), None);
        assert_eq!(placement_of(&command("/usr/bin/cat", &own), disks), None);
        assert_eq!(placement_of("", disks), None);
    }

    /// A real process, which holds the name that QEMU has.
    #[test]
    fn a_real_process_is_found_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let (id, program) = (placement(1), folder.path().join("qemu-system-test"));
        std::os::unix::fs::symlink("/bin/sh", &program).unwrap();
        let disk = folder.path().join(format!("{id}.qcow2"));
        let mut child = std::process::Command::new(&program)
            .args(["-c", "read line", "sh"])
            .arg(&disk)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert_eq!(processes(folder.path()).unwrap(), Processes::from([(id, vec![pid])]));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(processes(folder.path()).unwrap(), Processes::new());
    }
}
