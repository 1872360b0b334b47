//! The processes of one host that serve NFS: ganesha, and rpcbind, which tells clients its ports. Both outlive the
//! agent. Ganesha holds a lock on the file with its process number, by which the next agent finds it.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Flock, FlockType, Pid, PidfdFlags, Signal, fcntl_getlk, pidfd_open, pidfd_send_signal,
};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::NfsError;
use super::config::said;
use crate::server;

/// How long a start, an end or a new configuration may take.
const DEADLINE: Duration = Duration::from_secs(15);
/// How long one question to the port mapper may take.
const QUESTION: Duration = Duration::from_secs(2);
/// Between two looks at what is under way.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Between two looks at processes that should run.
const WATCH: Duration = Duration::from_millis(500);
/// Between two questions to the port mapper whether it knows ganesha.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// The mount protocol's program and version (RFC 1813, 5.1), which ganesha tells the port mapper last.
const MOUNT_PROGRAM: [&str; 2] = ["100005", "3"];

/// How ganesha runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory of its configuration and its log, for this ganesha alone.
    pub run_dir: PathBuf,
    /// The directory of what must outlive a boot: the numbers of exports.
    pub state_dir: PathBuf,
    /// Where it serves.
    pub address: Ipv4Addr,
}

impl Settings {
    /// What ganesha says.
    pub fn log(&self) -> PathBuf {
        self.run_dir.join("log")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.run_dir.join("ganesha.conf")
    }

    pub(super) fn ledger(&self) -> PathBuf {
        self.state_dir.join("exports.json")
    }

    fn pid_file(&self) -> PathBuf {
        self.run_dir.join("pid")
    }
}

/// Where rpcbind listens on the host itself; one that runs already, as Debian's, is used.
const PORT_MAPPER: &str = "/run/rpcbind.sock";

/// The processes, found or to be started.
#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) settings: Settings,
}

impl Daemon {
    /// Ganesha's number, if it runs.
    pub(super) fn process(&self) -> Result<Option<Pid>, NfsError> {
        let file = match File::open(self.settings.pid_file()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(NfsError::process)?,
        };
        let held = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock));
        Ok(held.map_err(unruled)?.and_then(|lock| lock.pid))
    }

    /// Makes the port mapper run. One that ended took ganesha's ports with it, so that ganesha must end, too, and tell
    /// them anew; its clients come back by themselves.
    pub(super) async fn ensure_port_mapper(&self) -> Result<(), NfsError> {
        if answers() {
            return Ok(());
        }
        self.end().await?;
        self.spawn(&self.settings.run_dir.join("rpcbind.log"), "rpcbind", &["-f"]).await?;
        until("rpcbind does not answer", || Ok(answers())).await
    }

    /// Makes ganesha run, and returns once clients find it.
    pub(super) async fn ensure(&self) -> Result<(), NfsError> {
        if self.process()?.is_none() {
            let log = self.settings.log();
            server::keep_last(&log).map_err(NfsError::process)?;
            let [config, pid_file, log_file] =
                [self.settings.config(), self.settings.pid_file(), log.clone()]
                    .map(|p| p.display().to_string());
            let words = ["-F", "-f", &config, "-L", &log_file, "-p", &pid_file];
            self.spawn(&log, "ganesha.nfsd", &words).await?;
        }
        let deadline = Instant::now() + DEADLINE;
        while !self.is_known().await? {
            if Instant::now() >= deadline {
                // Another rpcbind has come in place of the one that knew it.
                self.end().await?;
                return Err(NfsError::Start { reason: self.last_words() });
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Whether clients find its mount protocol by way of the port mapper, and are answered.
    pub(super) async fn is_known(&self) -> Result<bool, NfsError> {
        let mut ask = Command::new("rpcinfo");
        ask.args(["-T", "tcp", &self.settings.address.to_string()]).args(MOUNT_PROGRAM);
        ask.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        match timeout(QUESTION, ask.status()).await {
            Ok(status) => Ok(status.map_err(NfsError::process)?.success()),
            Err(_) => Ok(false),
        }
    }

    async fn spawn(&self, log: &Path, program: &str, words: &[&str]) -> Result<(), NfsError> {
        fs::create_dir_all(self.settings.run_dir.join("recovery")).map_err(NfsError::process)?;
        server::start(program, log, |command| command.args(words)).await.map_err(NfsError::process)
    }

    /// Tells ganesha to read its configuration anew; the length of its log before.
    pub(super) fn tell(&self) -> Result<u64, NfsError> {
        let before = fs::metadata(self.settings.log()).map_err(NfsError::process)?.len();
        self.signal(Signal::HUP)?;
        Ok(before)
    }

    /// Waits for ganesha to say something after a byte of its log.
    pub(super) async fn hear(&self, from: u64, heard: impl Fn(&str) -> bool) -> Result<String, NfsError> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let said = said(&self.settings.log(), from).map_err(NfsError::process)?;
            if heard(&said) {
                return Ok(said);
            }
            if self.process()?.is_none() || Instant::now() >= deadline {
                return Err(NfsError::Silent { reason: self.last_words() });
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// All that ganesha has said.
    pub(super) fn said(&self) -> Result<String, NfsError> {
        said(&self.settings.log(), 0).map_err(NfsError::process)
    }

    /// Empties the log once it is long. It holds the word that an export is gone until somebody has heard it.
    pub(super) fn trim_log(&self) -> Result<(), NfsError> {
        server::trim(&self.settings.log()).map_err(NfsError::process)
    }

    /// Kills ganesha. What it acknowledged is on the disk, and its clients wait for the next one.
    pub(super) async fn end(&self) -> Result<(), NfsError> {
        self.signal(Signal::KILL)?;
        until("ganesha does not end", || Ok(self.process()?.is_none())).await
    }

    fn signal(&self, signal: Signal) -> Result<(), NfsError> {
        let Some(pid) = self.process()? else { return Ok(()) };
        let sent = match pidfd_open(pid, PidfdFlags::empty()) {
            // The lock is held still, so that nobody else has come to have the number.
            Ok(handle) if self.process()? == Some(pid) => pidfd_send_signal(&handle, signal),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        match sent {
            Err(Errno::SRCH) | Ok(()) => Ok(()),
            Err(error) => Err(unruled(error)),
        }
    }

    /// Returns once ganesha or the port mapper has ended; at once if they do not run. A port mapper of the machine may
    /// have come anew between two looks, as systemd starts one for whoever knocks: it does not know ganesha.
    pub(super) async fn ended(&self) -> Result<(), NfsError> {
        let mut asked = Instant::now();
        while self.process()?.is_some() && answers() {
            if asked.elapsed() >= ASK_AGAIN {
                if !self.is_known().await? {
                    return Ok(());
                }
                asked = Instant::now();
            }
            sleep(WATCH).await;
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let is_grave =
            |line: &str| [":CRIT :", ":FATAL :", ":MAJ :"].iter().any(|level| line.contains(level));
        server::last_words(&self.settings.log(), is_grave)
    }
}

fn answers() -> bool {
    UnixStream::connect(PORT_MAPPER).is_ok()
}

async fn until(trouble: &str, done: impl Fn() -> Result<bool, NfsError>) -> Result<(), NfsError> {
    let deadline = Instant::now() + DEADLINE;
    while !done()? {
        if Instant::now() >= deadline {
            return Err(NfsError::Start { reason: trouble.to_owned() });
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

fn unruled(error: Errno) -> NfsError {
    NfsError::process(error.into())
}
