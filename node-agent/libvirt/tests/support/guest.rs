//! The tiny guest image with an overlay, a tap and a console of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tepui_libvirt::{Accelerator, DiskFormat, DomainSpec, Overlay, Root};
use tepui_types::{InstanceId, MacAddress, PlacementId};

use super::{PrivateHost, process, wait_for};

pub(crate) struct Guest {
    pub(crate) spec: DomainSpec,
}

impl Guest {
    pub(crate) fn new(host: &PrivateHost, number: u8) -> Self {
        let base = host.path().join("base");
        if !base.exists() {
            fs::copy(tiny_image(), &base).unwrap();
        }
        let path = host.path().join(format!("disk{number}.qcow2"));
        create_overlay(&path, &base);
        let serial = format!("vol{number:017x}");
        let root = Root::Overlay(Overlay { path, base, base_format: DiskFormat::Qcow2, serial });
        Self::on(host, number, root)
    }

    /// A guest with this root disk.
    pub(crate) fn on(host: &PrivateHost, number: u8, root: Root) -> Self {
        let tap = format!("tpt{number}");
        host.run("ip", &["tuntap", "add", "dev", &tap, "mode", "tap"]);
        host.run("ip", &["link", "set", &tap, "up"]);
        let spec = DomainSpec {
            placement_id: PlacementId::from_random(number.into()),
            instance_id: InstanceId::from_random(number.into()),
            vcpus: 1,
            memory_mib: 128,
            accelerator: Accelerator::Tcg,
            root,
            tap,
            mac: MacAddress::from_octets([2, 0, 0, 0, 0, number]),
            mtu: 1450,
            disks: Vec::new(),
            scratch: Vec::new(),
            console_log: host.path().join(format!("console{number}.log")),
        };
        Self { spec }
    }

    pub(crate) fn overlay(&self) -> &Overlay {
        match &self.spec.root {
            Root::Overlay(overlay) => overlay,
            Root::Volume(_) => panic!("it boots from a volume"),
        }
    }

    pub(crate) fn id(&self) -> PlacementId {
        self.spec.placement_id
    }

    pub(crate) fn wait_for_console(&self, words: &str) {
        wait_for(&format!("'{words}' on the console"), || self.console().contains(words));
    }

    pub(crate) fn console(&self) -> String {
        fs::read(&self.spec.console_log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}

/// Built by the project's own script; only the first test of a fresh checkout waits for it.
fn tiny_image() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let image = root.join("target/images/tiny.qcow2");
    let build = root.join("packaging/guest-images/build.sh");
    let output = process::output(Command::new(build).arg("tiny").arg(&image));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "the tiny guest image could not be built: {words}");
    image
}

/// The tiny guest's disk as a volume has it.
pub(crate) fn raw_image(to: &Path) {
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-q", "-f", "qcow2", "-O", "raw"]).arg(tiny_image()).arg(to);
    assert!(process::output(&mut command).status.success());
}

pub(crate) fn create_overlay(overlay: &Path, base: &Path) {
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"]).args([base, overlay]);
    assert!(process::output(&mut command).status.success());
}
