//! A host: network, mount and UTS namespaces with a libvirtd of its own and an agent.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::config::write_text;
use super::names::{NETNS, Names};
use super::process::{self, Process};
use super::shared;
use super::tools::{finish, is_namespace, run};
use crate::failure::{Failure, Result};

/// Directories of libvirt's and the host's own copies of them, below the host's directories.
const BINDS: [(&str, &str); 4] = [
    ("/etc/libvirt", "libvirt/etc"),
    ("/var/lib/libvirt", "libvirt/lib"),
    ("/var/cache/libvirt", "libvirt/cache"),
    ("/var/log/libvirt", "libvirt/log"),
];
/// The host's own `/run`, with the machine's directories in it: what lies beside them, as the socket and the lock of
/// rpcbind, each host has for itself. `$1` is where it is made.
const OWN_RUN: &str = "mount -t tmpfs -o mode=755 tmpfs \"$1\";
for d in /run/*/; do d=${d%/}; mkdir \"$1/${d##*/}\"; mount --rbind \"$d\" \"$1/${d##*/}\"; done;
mount --move \"$1\" /run; shift;";
/// Where a host's programs read which boot of it this is (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Settings with which several libvirtd live on one machine: no other daemon for consoles, no
/// security driver, no mount namespace for each guest, no control groups, whose names would collide.
const QEMU_CONF: &str =
    "stdio_handler = \"file\"\nsecurity_driver = \"none\"\nnamespaces = []\ncgroup_controllers = []\n";

/// One host of a dev cloud.
pub(super) struct Host<'a> {
    pub(super) names: &'a Names,
    pub(super) number: u16,
}

impl Host<'_> {
    fn pin(&self, kind: &str) -> PathBuf {
        self.names.pins().join(format!("n{}.{kind}", self.number))
    }

    /// The socket of the host's libvirtd.
    fn libvirt_socket(&self) -> PathBuf {
        self.names.node_run(self.number).join("libvirt/libvirt-sock")
    }

    /// Whether libvirtd answers.
    pub(super) fn has_libvirtd(&self) -> bool {
        UnixStream::connect(self.libvirt_socket()).is_ok()
    }

    /// Makes the host's directories and namespaces; those that are there stay. Namespaces that are made
    /// anew are a host that booted: they have `boot_id`.
    pub(super) fn ensure(&self, host_uuid: &str, boot_id: &str) -> Result<()> {
        if !Path::new("/etc/libvirt").is_dir() {
            return Err(Failure::failed("libvirt is not installed")
                .why("there is no /etc/libvirt")
                .try_("sudo packaging/install-packages.sh run"));
        }
        let (dir, run_dir) = (self.names.node_dir(self.number), self.names.node_run(self.number));
        for folder in ["data", "slash-run", "libvirt/lib", "libvirt/cache", "libvirt/log"] {
            make(&dir.join(folder))?;
        }
        for folder in ["data", "run", "libvirt"] {
            make(&run_dir.join(folder))?;
        }
        self.ensure_libvirt_config(&dir.join("libvirt/etc"), host_uuid)?;
        ensure_pins(&self.names.pins())?;
        if is_namespace(&self.pin("mnt")) {
            return Ok(());
        }
        write_text(&run_dir.join("boot_id"), &format!("{boot_id}\n"))?;
        self.make_namespaces()
    }

    fn ensure_libvirt_config(&self, etc: &Path, host_uuid: &str) -> Result<()> {
        if etc.join("libvirtd.conf").exists() {
            return Ok(());
        }
        make(etc)?;
        write_text(&etc.join("qemu.conf"), QEMU_CONF)?;
        // Two hosts with one uuid take a migration between them for one to themselves.
        let config = format!(
            "unix_sock_group = \"root\"\nauth_unix_rw = \"none\"\nhost_uuid = \"{host_uuid}\"\n\
             log_outputs = \"3:stderr\"\n"
        );
        write_text(&etc.join("libvirtd.conf"), &config)
    }

    /// The mount namespace is bound to a file, so that it outlives libvirtd and a new one finds the guests.
    fn make_namespaces(&self) -> Result<()> {
        for kind in ["mnt", "uts"] {
            write_text(&self.pin(kind), "")?;
        }
        shared::ensure_libvirt_dir()?;
        let (dir, run_dir) = (self.names.node_dir(self.number), self.names.node_run(self.number));
        let mut script = format!("set -eu; hostname node-{}; mount -t sysfs sysfs /sys;", self.number);
        script += OWN_RUN;
        let mut words = Vec::new();
        for (target, source) in BINDS {
            words.push((dir.join(source), PathBuf::from(target)));
        }
        words.push((run_dir.join("libvirt"), PathBuf::from("/run/libvirt")));
        words.push((dir.join("data"), run_dir.join("data")));
        words.push((run_dir.join("boot_id"), PathBuf::from(BOOT_ID)));
        // systemd-resolved's address is the machine's loopback, which the host does not have.
        script += "r=/run/systemd/resolve/resolv.conf; [ ! -e $r ] || mount --bind $r /etc/resolv.conf;";
        script += "while [ $# -gt 0 ]; do mount --bind \"$1\" \"$2\"; shift 2; done";
        let mut command = Command::new("nsenter");
        command.arg(self.net_option()).arg("unshare").arg(format!("--mount={}", self.pin("mnt").display()));
        command.arg(format!("--uts={}", self.pin("uts").display())).args(["--propagation", "private"]);
        command.args(["sh", "-c", &script, "sh"]).arg(dir.join("slash-run"));
        for (source, target) in words {
            command.arg(source).arg(target);
        }
        let made = finish(&mut command).map(drop);
        if made.is_err() {
            unmount(&self.pin("mnt"));
        }
        made
    }

    fn net_option(&self) -> String {
        format!("--net={}", Path::new(NETNS).join(self.names.node(self.number)).display())
    }

    /// A command that runs inside the host. nsenter becomes the program, so that the pid is its.
    pub(super) fn inside(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(self.net_option());
        command.arg(format!("--mount={}", self.pin("mnt").display()));
        command.arg(format!("--uts={}", self.pin("uts").display()));
        command.arg(program).current_dir("/");
        command
    }

    /// Starts libvirtd below a parent that adopts its guests; `own` is this program.
    pub(super) fn start_libvirtd(&self, own: &Path) -> Result<Process> {
        let pid_file = self.names.node_run(self.number).join("libvirtd.pid");
        let mut command = self.inside(own);
        command.args(["dev", "reap", "libvirtd", "-p"]).arg(pid_file);
        process::start(&mut command, None, &self.names.log(&format!("libvirtd-{}", self.number)))
    }

    /// Ends everything that runs in the host.
    pub(super) async fn end(&self) -> Result<()> {
        let pin = self.pin("mnt");
        process::end(|| process::inside_mount_namespace(&pin)).await
    }
}

/// A namespace can be bound only where mounts do not propagate.
fn ensure_pins(pins: &Path) -> Result<()> {
    make(pins)?;
    let text = pins.display().to_string();
    let mounts = fs::read_to_string("/proc/self/mounts").map_err(|e| Failure::io("/proc/self/mounts", &e))?;
    if !mounts.lines().any(|line| line.split(' ').nth(1) == Some(text.as_str())) {
        run("mount", &["--bind", &text, &text])?;
        run("mount", &["--make-private", &text])?;
    }
    Ok(())
}

/// Unbinds all namespaces and removes the mount points.
pub(super) fn remove_pins(pins: &Path) {
    for entry in fs::read_dir(pins).into_iter().flatten().filter_map(Result::ok) {
        unmount(&entry.path());
    }
    unmount(pins);
}

fn unmount(path: &Path) {
    // What is not mounted needs nothing.
    let _ = nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH);
}

fn make(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| Failure::io(path.display(), &e))
}
