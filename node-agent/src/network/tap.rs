//! Taps. Netlink makes no persistent tap, and the ioctl that does is unsafe code, which this crate
//! forbids: so `ip tuntap` makes it. It takes about two milliseconds.

use std::io;
use std::process::Command;

use super::NetworkError;
use super::error::refused;
use super::namespace::Namespace;

/// Makes a persistent tap, down and on no bridge.
pub(super) async fn create(host: &Namespace, name: &str) -> Result<(), NetworkError> {
    let device = name.to_owned();
    host.run(move || ip_tuntap(&device)).await.flatten().map_err(refused(|| format!("make the tap {name}")))
}

fn ip_tuntap(name: &str) -> io::Result<()> {
    let output = Command::new("ip").args(["tuntap", "add", "dev", name, "mode", "tap"]).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
