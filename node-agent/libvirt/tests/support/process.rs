//! Processes of a test: started, signalled and ended by their ids.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, Once};
use std::time::Duration;

use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

/// Children that are waited for by their handles.
static OWN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

pub(crate) fn spawn(command: &mut Command) -> Child {
    // The lock keeps the reaper from seeing a child before it is known as ours.
    let mut own = OWN.lock().unwrap();
    let child = command.spawn().unwrap();
    own.insert(child.id());
    child
}

/// Instead of `Command::output`, whose child the reaper would take for an orphan.
pub(crate) fn output(command: &mut Command) -> Output {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    spawn(command).wait_with_output().unwrap()
}

pub(crate) fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

/// The name is looked at first: the number in a pid file may be another process's by now.
pub(crate) fn kill_if_runs(pid: u32, name: &str) {
    let runs = fs::read_to_string(format!("/proc/{pid}/comm"))
        .is_ok_and(|comm| name.starts_with(comm.trim()) || comm.starts_with(name));
    if runs {
        signal(pid, Signal::SIGKILL);
        wait_gone(pid);
    }
}

pub(crate) fn wait_gone(pid: u32) {
    super::wait_for("a process to end", || !fs::exists(format!("/proc/{pid}")).unwrap());
}

/// QEMU's parent ends at once. Where PID 1 is slow to reap, libvirtd would see a killed QEMU as alive
/// for seconds; so this process adopts and reaps them.
pub(crate) fn adopt_orphans() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        set_child_subreaper(true).unwrap();
        std::thread::spawn(|| {
            loop {
                reap_one();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
    });
}

fn reap_one() {
    let own = OWN.lock().unwrap();
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
    let Some(pid) = waitid(Id::All, look).ok().and_then(|status: WaitStatus| status.pid()) else { return };
    if !own.contains(&pid.as_raw().try_into().unwrap()) {
        let _ = waitpid(pid, None);
    }
}
