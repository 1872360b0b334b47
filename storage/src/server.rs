//! Servers of exports as processes of their own, which outlive the agent: how they are started, and what they say.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

/// Clients can make a server say something each time they knock, and logs lie where the host keeps its sockets.
const LONGEST_LOG: u64 = 1 << 20;
/// So many of a server's last lines say why it ended.
const LAST_LINES: usize = 5;

/// Starts a program by way of `setsid`, so that it is no child of the agent: it gets a session of its own, and nobody
/// has to reap it. What it says is appended to `log`. `with` may add words and environment.
pub(crate) async fn start(
    program: impl AsRef<Path>,
    log: &Path,
    with: impl FnOnce(&mut Command) -> &mut Command,
) -> io::Result<()> {
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = Command::new("setsid");
    command.arg("--fork").arg(program.as_ref()).current_dir("/").stdin(Stdio::null());
    let status = with(&mut command).stdout(log.try_clone()?).stderr(log).status().await?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("setsid: {status}"))) }
}

/// Keeps what the last process said beside what the next one will.
pub(crate) fn keep_last(log: &Path) -> io::Result<()> {
    unless_missing(fs::rename(log, log.with_added_extension("old")))
}

/// Empties a log once it is long.
pub(crate) fn trim(log: &Path) -> io::Result<()> {
    let open = OpenOptions::new().write(true).open(log);
    unless_missing(open.and_then(|log| match log.metadata()?.len() > LONGEST_LOG {
        true => log.set_len(0),
        false => Ok(()),
    }))
}

/// The end of what a process said, of those lines that `tell`.
pub(crate) fn last_words(log: &Path, tell: impl Fn(&str) -> bool) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let mut last: Vec<_> = log.lines().rev().filter(|line| tell(line)).take(LAST_LINES).collect();
    last.reverse();
    last.join("; ")
}

fn unless_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
