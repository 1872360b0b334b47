//! What all dev clouds of a machine share, and the last one puts back. Removing the directory that
//! another one's libvirtd has mounted over would unmount it there.

use std::fs;
use std::path::Path;

use super::tools::ip;
use crate::failure::{Failure, Result};

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
/// Exists while dev clouds hold forwarding on that was off before.
const FORWARDING_WAS_OFF: &str = "/run/tepui-dev.forwarding-was-off";
/// libvirt's run-time directory, the place for each host's own.
const LIBVIRT: &str = "/run/libvirt";
/// Exists while dev clouds hold a directory that was not there before.
const LIBVIRT_WAS_MISSING: &str = "/run/tepui-dev.libvirt-was-missing";

/// Turns forwarding on.
pub(super) fn ensure_forwarding() -> Result<()> {
    let now = fs::read_to_string(IP_FORWARD).map_err(|e| Failure::io(IP_FORWARD, &e))?;
    if now.trim() == "0" {
        write(FORWARDING_WAS_OFF, "")?;
        write(IP_FORWARD, "1")?;
    }
    Ok(())
}

/// Makes libvirt's run-time directory.
pub(super) fn ensure_libvirt_dir() -> Result<()> {
    if !Path::new(LIBVIRT).exists() {
        write(LIBVIRT_WAS_MISSING, "")?;
        fs::create_dir(LIBVIRT).map_err(|e| Failure::io(LIBVIRT, &e))?;
    }
    Ok(())
}

/// Puts things back if no other dev cloud has its device on this machine.
pub(super) fn restore() -> Result<()> {
    let others = ip("-o link show type veth")?;
    if others.lines().any(|line| line.contains(": tpd")) {
        return Ok(());
    }
    if Path::new(FORWARDING_WAS_OFF).exists() {
        write(IP_FORWARD, "0")?;
        remove(FORWARDING_WAS_OFF)?;
    }
    if Path::new(LIBVIRT_WAS_MISSING).exists() {
        // It stays if a libvirtd of the machine's was started meanwhile.
        let _ = fs::remove_dir(LIBVIRT);
        remove(LIBVIRT_WAS_MISSING)?;
    }
    Ok(())
}

fn write(path: &str, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|e| Failure::io(path, &e))
}

fn remove(path: &str) -> Result<()> {
    fs::remove_file(path).map_err(|e| Failure::io(path, &e))
}
