//! The daemons of a cloud, one by one: ended, frozen, and started with an armed fail point.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde_json::Value;

use crate::process::{is_gone, kill};
use crate::{Cloud, binary, until};

/// The exit code of a daemon that ended at its armed fail point.
pub const FAILPOINT_EXIT: i32 = 86;

/// A daemon of a simulated cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemon {
    /// The control plane.
    Api,
    /// The agents of all simulated hosts.
    Agent,
}

impl Daemon {
    /// Its program, by which `tepui dev` knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "tepui-api",
            Self::Agent => "tepui-node",
        }
    }

    fn command(self, folder: &Path) -> Command {
        let mut command = Command::new(binary(self.name()));
        command.arg("--config");
        match self {
            Self::Api => command.arg(folder.join("api.toml")),
            Self::Agent => command.arg(folder.join("sim.toml")).arg("simulate"),
        };
        command
    }
}

impl Cloud {
    /// Kills a daemon as if the power went; [`Cloud::up`] starts it again.
    #[track_caller]
    pub fn kill(&self, daemon: Daemon) {
        kill(self.pid(daemon.name()));
    }

    /// Holds a daemon still, without its connections noticing.
    #[track_caller]
    pub fn freeze(&self, daemon: Daemon) {
        self.signal(daemon, Signal::SIGSTOP);
    }

    /// Lets a frozen daemon go on.
    #[track_caller]
    pub fn thaw(&self, daemon: Daemon) {
        self.signal(daemon, Signal::SIGCONT);
    }

    #[track_caller]
    fn signal(&self, daemon: Daemon, signal: Signal) {
        let sent = signal::kill(Pid::from_raw(self.pid(daemon.name())), signal);
        assert_eq!(sent, Ok(()), "{signal} to {}", daemon.name());
    }

    /// Replaces a daemon of a simulated cloud by one that ends at `point`. The control plane answers
    /// already when this returns.
    #[track_caller]
    pub fn start_armed(&self, daemon: Daemon, point: &str) -> Armed {
        let child = self.replace(daemon, &[("TEPUI_FAILPOINT", &format!("{point}=exit"))]);
        let armed = Armed { child, what: format!("{} at {point}", daemon.name()) };
        if daemon == Daemon::Api {
            for address in [self.address(), self.agents_address()] {
                until("the armed control plane listens", 30, || TcpStream::connect(&address).ok());
            }
        }
        armed
    }

    /// Kills a daemon of a simulated cloud, and starts it with these variables.
    #[track_caller]
    pub(crate) fn replace(&self, daemon: Daemon, with: &[(&str, &str)]) -> Child {
        self.kill(daemon);
        let folder = self.cloud_folder();
        let mut command = daemon.command(&folder);
        command.envs(with.iter().copied()).env("NO_COLOR", "1");
        let log = File::options().create(true).append(true).open(folder.join("log/replaced.log"));
        let child = log.and_then(|log| command.stderr(log).spawn());
        let Ok(child) = child else { unreachable!("{command:?}: {child:?}") };
        child
    }

    /// The process of a daemon by its name in `tepui dev`'s state, for example `tepui-node-1`.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn pid(&self, name: &str) -> i32 {
        let state = fs::read(self.cloud_folder().join("state.json")).unwrap_or_default();
        let state: Value = serde_json::from_slice(&state).unwrap_or_default();
        let pid = state["processes"][name]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        let Some(pid) = pid else { unreachable!("{name} is not in {state}") };
        pid
    }

    /// Whether a daemon, by its name in `tepui dev`'s state, has ended.
    #[track_caller]
    pub fn has_ended(&self, name: &str) -> bool {
        is_gone(self.pid(name))
    }
}

/// A daemon that ends at a fail point; killed when dropped.
#[derive(Debug)]
pub struct Armed {
    child: Child,
    what: String,
}

impl Armed {
    /// Shows that it ended, and exactly at its point.
    ///
    /// # Panics
    /// When it still runs after `seconds`, or ended in another way.
    #[track_caller]
    pub fn assert_died(mut self, seconds: u64) {
        let what = self.what.clone();
        let status = until(&format!("the death of {what}"), seconds, || self.child.try_wait().ok().flatten());
        assert_eq!(status.code(), Some(FAILPOINT_EXIT), "{what}: {status}");
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
