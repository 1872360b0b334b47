//! A real host of a cloud with libvirt: its processes, one by one, and its power.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddrV4;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde_json::Value;

use crate::process::{Output, finish, is_gone, kill};
use crate::{Cloud, python, run, until};

/// The kernel keeps fifteen letters of a program's name.
pub const QEMU: &str = "qemu-system-x86";

/// Takes libvirt's notes off every file below a folder.
const FORGET_USE: &str = "
import os, sys
for folder, _, names in os.walk(sys.argv[1]):
    for path in (os.path.join(folder, name) for name in names):
        for note in os.listxattr(path, follow_symlinks=False):
            if note.startswith('trusted.libvirt.'):
                os.removexattr(path, note, follow_symlinks=False)
";

/// One host. It is told by its mount namespace, so that it can be spoken of while nothing runs in it.
#[derive(Debug, Clone)]
pub struct Host {
    /// Where `tepui dev` keeps what must not outlive a boot, for all hosts of the cloud.
    run_dir: PathBuf,
    /// What outlives a boot.
    folder: PathBuf,
    number: u16,
}

impl Cloud {
    /// A host by its number, from 1.
    ///
    /// # Panics
    /// When the cloud has no such host.
    #[track_caller]
    pub fn host(&self, number: u16) -> Host {
        let folder = self.cloud_folder().join(format!("n{number}"));
        let config = folder.join("node.toml");
        let text = fs::read_to_string(&config).unwrap_or_default();
        let own = text.lines().find_map(|line| line.strip_prefix("run_dir = \"")?.strip_suffix("/run\""));
        let Some(run_dir) = own.and_then(|own| Path::new(own).parent()) else {
            unreachable!("{} names no run_dir: {text}", config.display())
        };
        Host { run_dir: run_dir.to_owned(), folder, number }
    }

    /// The host that an instance runs on.
    ///
    /// # Panics
    /// When it runs on none.
    #[track_caller]
    pub fn host_of(&self, instance: &str) -> Host {
        let shown = self.instance(instance);
        let mut hosts = (1..=self.nodes()).map(|number| self.host(number));
        let Some(host) = hosts.find(|host| !host.guests_of(&shown).is_empty()) else {
            unreachable!("on no host: {shown}")
        };
        host
    }
}

impl Host {
    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The name that the control plane knows it by.
    pub fn name(&self) -> String {
        format!("node-{}", self.number)
    }

    /// What it has under `/run`.
    pub fn run_dir(&self) -> PathBuf {
        self.run_dir.join(format!("n{}", self.number))
    }

    /// The agent's `data_dir`, as programs on the host see it.
    pub fn data_dir(&self) -> PathBuf {
        self.run_dir().join("data")
    }

    /// The same, as the machine sees it.
    pub(crate) fn agent_folder(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What its programs have as `/var/log/libvirt`.
    pub(crate) fn log_folder(&self) -> PathBuf {
        self.folder.join("libvirt/log")
    }

    /// Where its agent finds the control plane.
    pub(crate) fn control_plane(&self) -> SocketAddrV4 {
        let text = fs::read_to_string(self.folder.join("node.toml")).unwrap_or_default();
        let url = text.lines().find_map(|line| line.strip_prefix("api_url = \"https://")?.strip_suffix('"'));
        let Some(address) = url.and_then(|url| url.parse().ok()) else {
            unreachable!("no address in {text}")
        };
        address
    }

    /// Its network namespace.
    pub(crate) fn network(&self) -> String {
        let id = self.run_dir.to_string_lossy().rsplit('-').next().unwrap_or_default().to_owned();
        format!("tpd-{id}-n{}", self.number)
    }

    fn pin(&self, kind: &str) -> PathBuf {
        self.run_dir.join("ns").join(format!("n{}.{kind}", self.number))
    }

    /// Everything that runs on it.
    fn everything(&self) -> BTreeSet<i32> {
        let Ok(own) = fs::metadata(self.pin("mnt")) else { return BTreeSet::new() };
        let is_inside = |pid: &i32| {
            fs::metadata(format!("/proc/{pid}/ns/mnt"))
                .is_ok_and(|other| (own.dev(), own.ino()) == (other.dev(), other.ino()))
        };
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(is_inside).filter(|pid| !is_gone(*pid)).collect()
    }

    /// The processes of a program.
    pub fn processes(&self, program: &str) -> BTreeSet<i32> {
        let is_named = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == program)
        };
        self.everything().into_iter().filter(is_named).collect()
    }

    /// The one process of a program.
    ///
    /// # Panics
    /// When there is none, or more than one.
    #[track_caller]
    pub fn process(&self, program: &str) -> i32 {
        let found: Vec<i32> = self.processes(program).into_iter().collect();
        let [pid] = found.as_slice() else { unreachable!("{program} on {}: {found:?}", self.name()) };
        *pid
    }

    /// The QEMU processes of an instance that DescribeInstances showed, told by the root disk's serial.
    pub fn guests_of(&self, instance: &Value) -> BTreeSet<i32> {
        let volume = instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"].as_str().unwrap_or_default();
        let serial = volume.replace('-', "");
        assert!(!serial.is_empty(), "{instance} has no root volume");
        let has_disk = |pid: &i32| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|words| String::from_utf8_lossy(&words).contains(&serial))
        };
        self.processes(QEMU).into_iter().filter(has_disk).collect()
    }

    /// Kills the one process of a program as if the power went.
    #[track_caller]
    pub fn kill(&self, program: &str) {
        kill(self.process(program));
    }

    /// Holds the one process of a program still, without its connections noticing.
    #[track_caller]
    pub fn freeze(&self, program: &str) {
        send(self.process(program), Signal::SIGSTOP);
    }

    /// Lets a frozen program go on.
    #[track_caller]
    pub fn thaw(&self, program: &str) {
        send(self.process(program), Signal::SIGCONT);
    }

    /// Sends a signal to one of its processes.
    #[track_caller]
    pub fn signal(&self, pid: i32, signal: Signal) {
        assert!(self.everything().contains(&pid), "{pid} is not on {}", self.name());
        send(pid, signal);
    }

    /// Runs a program on the host.
    pub fn run(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Output {
        finish(self.command(program).args(arguments))
    }

    /// A program on the host, which is to be run.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.network()));
        command.arg(format!("--mount={}", self.pin("mnt").display()));
        command.arg(format!("--uts={}", self.pin("uts").display()));
        command.arg(program.as_ref());
        command
    }

    /// The power goes: every process ends, and with them all that does not outlive a boot, which is the
    /// namespaces, every device in them, and what is under `/run`. [`Cloud::up`] boots it again.
    #[track_caller]
    pub fn power_off(&self) {
        // First: it must not live to see the others die.
        self.processes("tepui-node").into_iter().for_each(kill);
        until(&format!("nothing runs on {}", self.name()), 20, || {
            self.everything().into_iter().for_each(kill);
            self.everything().is_empty().then_some(())
        });
        for kind in ["mnt", "uts"] {
            run("umount", &[self.pin(kind)]).ok();
        }
        run("ip", &["netns", "del", &self.network()]).ok();
        let removed = fs::remove_dir_all(self.run_dir());
        assert!(removed.is_ok(), "{}: {removed:?}", self.run_dir().display());
        // libvirt notes at a file that it is in use, and forgets that when the machine started later: this
        // machine did not.
        let folder = self.folder.display().to_string();
        run(python("python"), &["-c", FORGET_USE, &folder]).ok();
    }
}

#[track_caller]
fn send(pid: i32, signal: Signal) {
    let sent = signal::kill(Pid::from_raw(pid), signal);
    assert_eq!(sent, Ok(()), "{signal} to {pid}");
}
