//! Facts of the host that the agent runs on.

use std::io;
use std::path::Path;

use tepui_types::agent::NodeCapacity;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const MEMORY: &str = "/proc/meminfo";

/// Changes when the host reboots.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string(BOOT_ID)?.trim().to_owned())
}

/// What the host offers; the disk is the file system of `data_dir`.
pub fn capacity(data_dir: &Path) -> io::Result<NodeCapacity> {
    let file_system = nix::sys::statvfs::statvfs(data_dir)?;
    let disk_bytes = file_system.blocks() * file_system.fragment_size();
    Ok(NodeCapacity {
        vcpus: u32::try_from(std::thread::available_parallelism()?.get()).unwrap_or(u32::MAX),
        memory_mib: memory_mib(&std::fs::read_to_string(MEMORY)?)?,
        disk_gib: disk_bytes >> 30,
    })
}

/// `MemTotal:  16384 kB` of proc(5), in MiB.
fn memory_mib(meminfo: &str) -> io::Result<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|value| value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    let missing = || io::Error::new(io::ErrorKind::InvalidData, format!("{MEMORY} has no MemTotal"));
    kib.map(|kib| kib >> 10).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_processors_memory_and_disk() {
        let capacity = capacity(Path::new("/")).unwrap();
        assert!(capacity.vcpus > 0 && capacity.memory_mib > 0 && capacity.disk_gib > 0);
        assert!(!boot_id().unwrap().is_empty());
    }

    #[test]
    fn memory_is_read_in_mib_and_nonsense_is_refused() {
        assert_eq!(memory_mib("MemFree: 1 kB\nMemTotal:    2048 kB\n").unwrap(), 2);
        assert!(memory_mib("MemTotal: many\n").is_err());
    }
}
