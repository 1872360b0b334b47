//! Daemons: started apart from the terminal, recognized again by pid and start time, ended.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::failure::{Failure, Result};

/// How long a daemon may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// Programs of ours that run apart from the terminal.
const DAEMONS: [&str; 2] = ["tepui-api", "tepui-node"];

/// A process that cannot be mistaken for a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// Clock ticks from the machine's start to the process's (proc(5)).
    pub(super) started: u64,
}

impl Process {
    /// The process that has this pid now.
    pub(super) fn with_pid(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, field 2, may hold spaces and parentheses.
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        let is_zombie = fields.first().is_none_or(|state| ["Z", "X"].contains(state));
        // The first thread is a zombie already while others still end and hold the sockets.
        let is_dead = is_zombie && fields.get(17).is_none_or(|threads| ["0", "1"].contains(threads));
        let started = fields.get(19)?.parse().ok()?;
        (!is_dead).then_some(Self { pid, started })
    }

    /// Whether it still runs.
    pub(super) fn runs(&self) -> bool {
        Self::with_pid(self.pid) == Some(*self)
    }
}

/// Starts a daemon in a process group of its own, so that the terminal's Ctrl-C is not for it.
pub(super) fn start(command: &mut Command, input: Option<OwnedFd>, log: &Path) -> Result<Process> {
    let name = command.get_program().display().to_string();
    let spawn = || {
        let output = File::options().create(true).append(true).open(log)?;
        let errors = output.try_clone()?;
        command.stdin(input.map_or_else(Stdio::null, Stdio::from)).stdout(output).stderr(errors);
        command.env("NO_COLOR", "1").process_group(0).spawn()
    };
    let child = spawn().map_err(|e: io::Error| Failure::io(format!("starting {name}"), &e))?;
    let pid = i32::try_from(child.id()).unwrap_or_default();
    Process::with_pid(pid).ok_or_else(|| died(&name, log))
}

/// A daemon that ended at once, with its last words.
pub(super) fn died(name: &str, log: &Path) -> Failure {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(5)..];
    let failure = last.iter().fold(Failure::failed(format!("{name} ended")), |f, line| f.why(*line));
    failure.try_(format!("less {}", log.display()))
}

/// Ends the processes that `find` finds: asks, waits, kills what is left, and looks again until there
/// is none, since a dying daemon may have started another.
///
/// # Errors
/// When some do not even end when killed.
pub(super) async fn end(find: impl Fn() -> Vec<Process>) -> Result<()> {
    signal(&find(), Signal::SIGTERM);
    let asked = Instant::now();
    loop {
        let left = find();
        let waited = asked.elapsed();
        match left.first() {
            None => return Ok(()),
            Some(one) if waited > 2 * GRACE => {
                return Err(Failure::failed(format!("process {} does not end", one.pid))
                    .why(format!("it was killed {} s ago", (waited - GRACE).as_secs())));
            }
            Some(_) if waited > GRACE => signal(&left, Signal::SIGKILL),
            Some(_) => {}
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn signal(processes: &[Process], signal: Signal) {
    for process in processes {
        // It may end between the look and the signal.
        let _ = kill(Pid::from_raw(process.pid), signal);
    }
}

/// Our daemons that were started with one of these files, whether or not anybody noted their pids.
pub(super) fn daemons_of(configs: &[PathBuf]) -> Vec<Process> {
    let is_ours = |pid: &i32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = command.split(|byte| *byte == 0);
        DAEMONS.contains(&name.trim())
            && words.any(|word| configs.iter().any(|config| config.as_os_str().as_encoded_bytes() == word))
    };
    pids().filter(is_ours).filter_map(Process::with_pid).collect()
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(io::Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Every process in the mount namespace that is bound to `pin`: what a host runs, its guests and the
/// DHCP servers included, whoever started it.
pub(super) fn inside_mount_namespace(pin: &Path) -> Vec<Process> {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(namespace) = fs::metadata(pin) else { return Vec::new() };
    let is_inside = |pid: &i32| {
        fs::metadata(format!("/proc/{pid}/ns/mnt"))
            .is_ok_and(|own| (own.dev(), own.ino()) == (namespace.dev(), namespace.ino()))
    };
    pids().filter(is_inside).filter_map(Process::with_pid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_daemon_is_known_by_its_start_and_ends_when_told() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let daemon = start(Command::new("sleep").arg("60"), None, &log).unwrap();
        assert!(daemon.runs());
        let later = Process { started: daemon.started + 1, ..daemon };
        assert!(!later.runs(), "another process with its pid is not it");
        let still = |process: Process| move || Vec::from_iter(process.runs().then_some(process));
        end(still(later)).await.unwrap();
        assert!(daemon.runs(), "and is not ended in its place");
        end(still(daemon)).await.unwrap();
        assert!(!daemon.runs());
        end(still(daemon)).await.unwrap();
    }

    #[test]
    fn a_program_that_is_not_ours_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("api.toml");
        fs::write(&config, "").unwrap();
        let mut reader = Command::new("tail").arg("-f").arg(&config).spawn().unwrap();
        assert!(daemons_of(&[config]).is_empty());
        reader.kill().unwrap();
        reader.wait().unwrap();
    }

    #[test]
    fn what_a_dead_daemon_said_last_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("api.log");
        fs::write(&log, "one\ntwo\nthree\nfour\nfive\nlisten: address in use\n").unwrap();
        let failure = died("tepui-api", &log);
        assert_eq!(failure.message, "tepui-api ended");
        assert_eq!(failure.why, ["two", "three", "four", "five", "listen: address in use"]);
        assert!(failure.try_[0].ends_with("api.log"));
    }
}
