//! What a cloud leaves on the machine: compared before and after.

use std::collections::BTreeSet;
use std::fs;

use crate::run;

/// Network devices, namespaces, filter tables, mounts and hypervisor processes of the machine.
#[derive(Debug, PartialEq, Eq)]
pub struct Footprint {
    links: BTreeSet<String>,
    namespaces: BTreeSet<String>,
    tables: BTreeSet<String>,
    routes: BTreeSet<String>,
    mounts: BTreeSet<String>,
    processes: BTreeSet<String>,
    forwarding: String,
}

/// Programs that a cloud starts.
const PROGRAMS: &[&str] = &["tepui-api", "tepui-node", "libvirtd", "qemu-system-x86", "dnsmasq", "virtlogd"];

impl Footprint {
    /// Looks at the machine.
    pub fn take() -> Self {
        Self {
            links: lines("ip", &["-brief", "link"], |line| line.split([' ', '@']).next()),
            namespaces: lines("ip", &["netns", "list"], |line| line.split(' ').next()),
            tables: lines("nft", &["list", "tables"], whole),
            routes: lines("ip", &["route"], whole),
            mounts: mounts(),
            processes: processes(),
            forwarding: fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap_or_default(),
        }
    }
}

fn lines(program: &str, arguments: &[&str], pick: impl Fn(&str) -> Option<&str>) -> BTreeSet<String> {
    run(program, arguments).ok().lines().filter_map(|line| pick(line).map(str::to_owned)).collect()
}

fn whole(line: &str) -> Option<&str> {
    Some(line)
}

fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    // iproute2 makes its folder of namespaces a mount point at the first `ip netns add`, for good.
    let points =
        text.lines().filter_map(|line| line.split(' ').nth(1)).filter(|point| *point != "/run/netns");
    points.map(str::to_owned).collect()
}

fn processes() -> BTreeSet<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|pid| Some((fs::read_to_string(format!("/proc/{pid}/comm")).ok()?, pid)))
        .filter(|(name, pid)| PROGRAMS.contains(&name.trim()) && !is_zombie(pid))
        .map(|(name, pid)| format!("{} {pid}", name.trim()))
        .collect()
}

/// A process that ended and that PID 1 has not yet reaped.
fn is_zombie(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit(')').next().map(|rest| rest.trim_start().starts_with('Z')))
        .unwrap_or(true)
}
