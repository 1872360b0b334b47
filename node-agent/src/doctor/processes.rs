//! The QEMU processes of this host, against libvirt's word.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use tepui_libvirt::placement_of;
use tepui_types::PlacementId;

use super::{Finding, Inventory, Subject, failure, is_live};

/// Process ids of the QEMU processes of this host, by their guest.
pub type Processes = BTreeMap<PlacementId, Vec<i32>>;

/// Looks through all processes. One of another host on the same machine uses other disks than those in `disks`, and
/// one that boots from a volume, and so has no disk there, is in another network.
pub fn processes(disks: &Path) -> io::Result<Processes> {
    let mut found = Processes::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ended meanwhile has none.
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        if let Some(placement) =
            by_disk(&command, disks).or_else(|| by_name(&command).filter(|_| is_here(pid)))
        {
            found.entry(placement).or_default().push(pid);
        }
    }
    Ok(found)
}

fn is_qemu(command: &str) -> bool {
    let program = command.split('\0').next().and_then(|program| Path::new(program).file_name()?.to_str());
    program.is_some_and(|name| name.starts_with("qemu"))
}

/// Of whom a command line of QEMU says that it is.
fn by_name(command: &str) -> Option<PlacementId> {
    let mut words = command.split('\0').filter(|_| is_qemu(command));
    let name = words.find_map(|word| word.strip_prefix("guest="))?;
    placement_of(name.split(',').next()?)
}

/// Whether a process is in the network of this one, which is the host's.
fn is_here(pid: i32) -> bool {
    let network = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    network(&pid.to_string()).is_some_and(|found| Some(found) == network("self"))
}

/// Whose disk a command line of QEMU names.
fn by_disk(command: &str, disks: &Path) -> Option<PlacementId> {
    if !is_qemu(command) {
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
    use std::io::Read as _;

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
        assert_eq!(by_disk(&command("/usr/bin/qemu-system-x86_64", &own), disks), Some(id));
        let elsewhere = format!("/srv/other/disks/{id}.qcow2");
        assert_eq!(by_disk(&command("/usr/bin/qemu-system-x86_64", &elsewhere), disks), None);
        assert_eq!(by_disk(&command("/usr/bin/cat", &own), disks), None);
        assert_eq!(by_disk("", disks), None);
    }

    #[test]
    fn a_process_without_a_disk_here_is_known_by_its_name() {
        let id = placement(1);
        let command =
            |program: &str, name: &str| format!("{program}\0-name\0guest={name},debug-threads=on\0-S\0");
        assert_eq!(by_name(&command("/usr/bin/qemu-system-x86_64", &format!("tepui-{id}"))), Some(id));
        assert_eq!(by_name(&command("/usr/bin/qemu-system-x86_64", "web")), None);
        assert_eq!(by_name(&command("/usr/bin/cat", &format!("tepui-{id}"))), None);
    }

    /// A real process, which holds the name that QEMU has.
    #[test]
    fn a_real_process_is_found_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let (id, program) = (placement(1), folder.path().join("qemu-system-test"));
        std::os::unix::fs::symlink("/bin/sh", &program).unwrap();
        let disk = folder.path().join(format!("{id}.qcow2"));
        let other = placement(2);
        let name = format!("guest=tepui-{other},debug-threads=on");
        let start = |last: &std::ffi::OsStr| {
            let mut child = std::process::Command::new(&program)
                .args(["-c", "echo; read line", "sh"])
                .arg(last)
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            // Until it runs its words may not be there.
            child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            child
        };
        let mut children = [start(disk.as_os_str()), start(name.as_ref())];
        let pids: Vec<_> = children.iter().map(|child| i32::try_from(child.id()).unwrap()).collect();
        let own = |id| processes(folder.path()).unwrap().remove(&id);
        assert_eq!((own(id), own(other)), (Some(vec![pids[0]]), Some(vec![pids[1]])));
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!((own(id), own(other)), (None, None));
    }
}
