//! A tgtd in the namespaces of a private host, with one target.

use std::path::Path;
use std::process::{Child, Command};

use tepui_libvirt::{DiskSource, IscsiSource};
use uuid::Uuid;

use super::{PrivateHost, process, wait_for};

const NAME: &str = "iqn.2026-11.cloud.tepui:export-00000000000000001";
const INITIATOR: &str = "iqn.2026-11.cloud.tepui.host:export-00000000000000001";
const ACCOUNT: &str = "export-00000000000000001";
const PASSWORD: &str = "0123456789ABCDEF";

/// Ends with its value.
pub(crate) struct Target(Child);

impl Target {
    /// Serves a file to those who know the password.
    pub(crate) fn serve(host: &PrivateHost, file: &Path) -> Self {
        let mut command = host.command("tgtd");
        command.args(["-f", "--iscsi", "portal=127.0.0.1:3260"]);
        let target = Self(process::spawn(&mut command));
        wait_for("tgtd", || {
            process::output(&mut admin(host, &["--mode", "sys", "--op", "show"])).status.success()
        });
        let told = |arguments: &[&str]| {
            let output = process::output(&mut admin(host, arguments));
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        told(&["--mode", "target", "--op", "new", "--tid", "1", "--targetname", NAME]);
        let file = file.to_str().unwrap();
        told(&["--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "1", "--backing-store", file]);
        told(&["--mode", "account", "--op", "new", "--user", ACCOUNT, "--password", PASSWORD]);
        told(&["--mode", "account", "--op", "bind", "--tid", "1", "--user", ACCOUNT]);
        told(&["--mode", "target", "--op", "bind", "--tid", "1", "--initiator-address", "ALL"]);
        target
    }

    /// Where a guest finds it.
    pub(crate) fn source() -> DiskSource {
        DiskSource::Iscsi(IscsiSource {
            portal: "127.0.0.1:3260".parse().unwrap(),
            target: NAME.into(),
            lun: 1,
            initiator: INITIATOR.into(),
            account: ACCOUNT.into(),
            password: PASSWORD.into(),
            secret: Uuid::from_u128(7),
        })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        process::end(&mut self.0);
    }
}

fn admin(host: &PrivateHost, arguments: &[&str]) -> Command {
    let mut command = host.command("tgtadm");
    command.args(["--lld", "iscsi"]).args(arguments);
    command
}
