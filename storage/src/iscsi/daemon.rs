//! The process tgtd of one host. It outlives the agent, which finds it again at its management socket: guests go on
//! writing while an agent is replaced. Its targets are in its memory alone.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep};

use super::control::{Control, State, TgtError};
use crate::server;

/// How long a start may take.
const START: Duration = Duration::from_secs(15);
/// Between two looks at a process that starts.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// What tgtd adds to the name of its socket: its control number, of which one is enough in a directory of its own.
const NUMBER: &str = "0";
/// The longest path of a socket (unix(7)).
const LONGEST_SOCKET: usize = 107;

/// How tgtd runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory of its socket and its log, for this tgtd alone.
    pub run_dir: PathBuf,
    /// Where it serves.
    pub portal: SocketAddr,
    /// The program.
    pub program: PathBuf,
    /// Threads for each logical unit.
    pub io_threads: u32,
    /// How often the peer of a connection is asked whether it is there.
    pub ping_seconds: u32,
    /// How many questions may stay without an answer before the connection is closed. Without it a connection whose
    /// peer was cut off while it was sent to would stay for a quarter of an hour, and so would the volume.
    pub lost_pings: u32,
}

impl Settings {
    /// With tgtd's own number of threads, and dead peers found in twenty seconds.
    pub fn new(run_dir: PathBuf, portal: SocketAddr) -> Self {
        Self { run_dir, portal, program: "tgtd".into(), io_threads: 16, ping_seconds: 5, lost_pings: 3 }
    }

    /// How an operator speaks to it: a command line to which `--mode` and `--op` are added.
    pub fn admin(&self) -> String {
        format!("TGT_IPC_SOCKET={} tgtadm -C {NUMBER} --lld iscsi", self.socket_stem().display())
    }

    fn socket_stem(&self) -> PathBuf {
        self.run_dir.join("tgt")
    }

    /// tgtd's management socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.socket_stem().with_added_extension(NUMBER)
    }

    /// What tgtd says.
    pub fn log(&self) -> PathBuf {
        self.run_dir.join("log")
    }

    fn arguments(&self) -> Vec<String> {
        let Self { portal, ping_seconds, lost_pings, .. } = self;
        let iscsi = format!("portal={portal},nop_interval={ping_seconds},nop_count={lost_pings}");
        let words = ["-f", "-C", NUMBER, "-t", &self.io_threads.to_string(), "--iscsi", &iscsi];
        words.map(str::to_owned).to_vec()
    }
}

/// The process, found or to be started.
#[derive(Debug)]
pub(super) struct Daemon {
    settings: Settings,
    control: Control,
}

impl Daemon {
    pub(super) fn new(settings: Settings) -> Self {
        Self { control: Control::new(settings.socket()), settings }
    }

    pub(super) fn control(&self) -> &Control {
        &self.control
    }

    pub(super) fn portal(&self) -> SocketAddr {
        self.settings.portal
    }

    /// Makes it run; it lets nobody in if it had to be started.
    pub(super) async fn ensure(&self) -> Result<(), TgtError> {
        match self.control.portals().await {
            Ok(found) => self.check_portal(&found).await,
            Err(error) if error.is_absence() => {
                self.start().await?;
                self.check_portal(&self.control.portals().await?).await
            }
            Err(error) => Err(error),
        }
    }

    async fn start(&self) -> Result<(), TgtError> {
        if self.control.socket().as_os_str().len() > LONGEST_SOCKET {
            return Err(cannot(format!(
                "the path {} is too long for a socket",
                self.control.socket().display()
            )));
        }
        self.spawn()
            .await
            .map_err(|error| cannot(format!("{}: {error}", self.settings.program.display())))?;
        let deadline = Instant::now() + START;
        loop {
            match self.control.set_state(State::Offline).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_absence() && Instant::now() < deadline => sleep(LOOK_AGAIN).await,
                Err(error) if error.is_absence() => return Err(cannot(self.last_words())),
                Err(error) => return Err(error),
            }
        }
    }

    /// What the last one said is kept.
    async fn spawn(&self) -> io::Result<()> {
        fs::create_dir_all(&self.settings.run_dir)?;
        let log = self.settings.log();
        server::keep_last(&log)?;
        let socket = self.settings.socket_stem();
        server::start(&self.settings.program, &log, |command| {
            command.args(self.settings.arguments()).env("TGT_IPC_SOCKET", socket)
        })
        .await
    }

    /// tgtd that cannot have its portal serves on every address of the host instead.
    async fn check_portal(&self, found: &[String]) -> Result<(), TgtError> {
        let wanted = self.settings.portal.to_string();
        if found == [wanted.as_str()] {
            return Ok(());
        }
        if self.control.targets().await?.is_empty() {
            self.end().await?;
        }
        Err(cannot(format!("it serves at {} and not at {wanted}: {}", found.join(", "), self.last_words())))
    }

    /// Empties the log once it is long.
    pub(super) fn trim_log(&self) -> Result<(), TgtError> {
        let log = self.settings.log();
        server::trim(&log).map_err(|source| TgtError::Log { path: log, source })
    }

    fn last_words(&self) -> String {
        server::last_words(&self.settings.log(), |_| true)
    }

    /// Kills it. What it acknowledged is on the disk, so that nothing is lost; it has no gentler end while it has
    /// targets, and ignores SIGTERM.
    pub(super) async fn end(&self) -> Result<(), TgtError> {
        let Some(process) = self.process().await? else { return Ok(()) };
        pidfd_send_signal(&process, Signal::KILL).map_err(unruled)?;
        gone(process).await
    }

    /// Whether somebody listens at the portal, or may do so.
    pub(super) async fn serves(&self) -> bool {
        let found = TcpStream::connect(self.settings.portal).await;
        !found.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// Returns once it has ended; at once if it does not run.
    pub(super) async fn ended(&self) -> Result<(), TgtError> {
        match self.process().await? {
            Some(process) => gone(process).await,
            None => Ok(()),
        }
    }

    /// A handle of the process that runs.
    async fn process(&self) -> Result<Option<OwnedFd>, TgtError> {
        match self.control.peer(handle).await? {
            Some(Ok(handle)) => Ok(handle),
            Some(Err(error)) => Err(unruled(error)),
            None => Ok(None),
        }
    }
}

fn handle(line: &UnixStream) -> Result<Option<OwnedFd>, Errno> {
    let peer = line.peer_cred().ok().and_then(|peer| peer.pid()).and_then(Pid::from_raw);
    match pidfd_open(peer.ok_or(Errno::NOTSUP)?, PidfdFlags::empty()) {
        // The line is still open, so that nobody else has come to have the number.
        Ok(handle) if is_open(line) => Ok(Some(handle)),
        Ok(_) | Err(Errno::SRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits for the end of a process, whose handle can be read once all its threads are gone and its files closed.
async fn gone(process: OwnedFd) -> Result<(), TgtError> {
    #[expect(
        deprecated,
        reason = "sound with an OwnedFd, and what replaces it is unsafe, which no crate here may be"
    )]
    let process = AsyncFd::with_interest(process, Interest::READABLE).map_err(watched)?;
    process.readable().await.map(drop).map_err(watched)
}

fn is_open(line: &UnixStream) -> bool {
    matches!(line.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

fn unruled(error: Errno) -> TgtError {
    watched(error.into())
}

fn watched(source: io::Error) -> TgtError {
    TgtError::Process { source }
}

fn cannot(reason: String) -> TgtError {
    TgtError::Start { reason }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_command_line_names_portal_and_pings_and_no_secret() {
        let settings = Settings::new("/run/tepui/tgt".into(), "[fd00::1]:3260".parse().unwrap());
        let expected = "-f -C 0 -t 16 --iscsi portal=[fd00::1]:3260,nop_interval=5,nop_count=3";
        assert_eq!(settings.arguments().join(" "), expected);
        assert_eq!(settings.socket(), Path::new("/run/tepui/tgt/tgt.0"));
    }
}
