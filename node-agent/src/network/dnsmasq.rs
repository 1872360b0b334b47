//! One dnsmasq process with its files in a folder. It outlives the agent; its files say what it serves, so
//! that the next agent takes it over.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use backon::{ConstantBuilder, Retryable as _};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::NetworkError;
use super::error::{file, refused};
use super::namespace::Namespace;

/// A process, by the folder of its files.
#[derive(Debug)]
pub(super) struct Dnsmasq {
    folder: PathBuf,
}

impl Dnsmasq {
    /// The process whose files are in `folder`.
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where a file of the process is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The lines of a configuration that name the process's own files.
    pub(super) fn own_files(&self) -> String {
        let (pid, log) = (self.path("pid"), self.path("log"));
        format!("pid-file={}\nlog-facility={}\n", pid.display(), log.display())
    }

    /// Whether it runs.
    pub(super) fn runs(&self) -> bool {
        self.process().is_some()
    }

    /// Makes it read its hosts' files again.
    pub(super) fn reload(&self) -> Result<(), NetworkError> {
        let Some(pid) = self.process() else { return Ok(()) };
        kill(pid, Signal::SIGHUP).map_err(refused(|| format!("tell dnsmasq {pid} to read its files")))
    }

    /// Starts it with the file `config`.
    pub(super) async fn start(&self, inside: &Namespace) -> Result<(), NetworkError> {
        let config = self.path("config");
        inside
            .run(move || spawn(&config))
            .await
            .flatten()
            .map_err(refused(|| format!("start dnsmasq for {}", self.folder.display())))
    }

    /// Ends the server; it may be gone already.
    pub(super) async fn stop(&self) -> Result<(), NetworkError> {
        let Some(pid) = self.process() else { return Ok(()) };
        match kill(pid, Signal::SIGTERM) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(refused(|| format!("stop dnsmasq {pid}"))(error)),
        }
        let gone = || async { if is_alive(pid) { Err(Errno::EBUSY) } else { Ok(()) } };
        let often = ConstantBuilder::default().with_delay(Duration::from_millis(5)).with_max_times(600);
        gone.retry(often).await.map_err(refused(|| format!("wait for the end of dnsmasq {pid}")))
    }

    /// Ends the server and removes its files.
    pub(super) async fn remove(&self) -> Result<(), NetworkError> {
        self.stop().await?;
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(&self.folder)(error)),
            _ => Ok(()),
        }
    }

    /// Writes a file if its content differs, so that a crash leaves the old or the new one.
    pub(super) fn write(&self, name: &str, content: &str) -> Result<bool, NetworkError> {
        fs::create_dir_all(&self.folder).map_err(file(&self.folder))?;
        let path = self.path(name);
        if fs::read(&path).is_ok_and(|old| old == content.as_bytes()) {
            return Ok(false);
        }
        self.replace(&path, content).map_err(file(&path))?;
        Ok(true)
    }

    fn replace(&self, path: &Path, content: &str) -> io::Result<()> {
        let mut temporary = tempfile::NamedTempFile::new_in(&self.folder)?;
        temporary.write_all(content.as_bytes())?;
        // dnsmasq reads it again after it gave up root.
        temporary.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        temporary.persist(path)?;
        Ok(())
    }

    /// The process, if the pid file's is still it: a pid may be another's by now. Without a file that can be
    /// read it is looked for, since a second one could not take the first one's addresses.
    fn process(&self) -> Option<Pid> {
        let argument = argument(&self.path("config"));
        let is_it = |pid: &i32| {
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command.split('\0').any(|word| word == argument)
        };
        let text = fs::read_to_string(self.path("pid")).ok();
        let found = match text.and_then(|text| text.trim().parse().ok()) {
            Some(pid) => Some(pid).filter(is_it),
            None if self.folder.exists() => every_process().find(is_it),
            None => None,
        };
        found.map(Pid::from_raw)
    }
}

fn every_process() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn argument(config: &Path) -> String {
    format!("--conf-file={}", config.display())
}

/// A process that ends loses its command line before it closes its sockets, and a zombie has closed them.
fn is_alive(pid: Pid) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat"));
    state.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with(['Z', 'X']))
}

/// dnsmasq comes back once it serves and goes on in the background.
fn spawn(config: &Path) -> io::Result<()> {
    let output = Command::new("dnsmasq").arg(argument(config)).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
