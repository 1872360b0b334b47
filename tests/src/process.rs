//! Runs programs and keeps what they said.

use std::ffi::OsStr;
use std::fs;
use std::io::{Seek as _, Write as _};
use std::process::{Command, Stdio};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::until;

/// What a program said.
#[derive(Debug)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output of a program that must have succeeded, trimmed.
    ///
    /// # Panics
    /// When it failed, with everything it said.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{} failed\n{}\n{}", self.command, self.stdout, self.stderr);
        self.stdout.trim().to_owned()
    }

    /// Standard error of a program that must have failed.
    ///
    /// # Panics
    /// When it succeeded.
    #[track_caller]
    pub fn refused(self) -> String {
        assert_ne!(self.code, Some(0), "{} succeeded\n{}", self.command, self.stdout);
        self.stderr
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When the program cannot be started.
#[track_caller]
pub fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[S]) -> Output {
    finish(Command::new(program).args(arguments))
}

/// Runs a program with a text as its standard input.
#[track_caller]
pub(crate) fn feed(program: &str, arguments: &[&str], text: &str) -> Output {
    let file = tempfile::tempfile().and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.rewind()?;
        Ok(file)
    });
    let Ok(file) = file else { unreachable!("a temporary file: {file:?}") };
    finish(Command::new(program).args(arguments).stdin(Stdio::from(file)))
}

/// Kills a process as if the power went, and waits until it is gone.
///
/// # Panics
/// When it is not.
#[track_caller]
pub fn kill(pid: i32) {
    // It may have ended already.
    let _ = signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
    until(&format!("process {pid} is gone"), 10, || is_gone(pid).then_some(()));
}

/// Ended, also if its parent does not know yet. A first thread that has ended is a zombie already while
/// others still hold the sockets, so threads are counted too (proc(5), fields 3 and 20).
pub(crate) fn is_gone(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let is_zombie = fields.first().is_none_or(|state| ["Z", "X"].contains(state));
    is_zombie && fields.get(17).is_none_or(|threads| ["0", "1"].contains(threads))
}

#[track_caller]
pub(crate) fn finish(command: &mut Command) -> Output {
    let text = format!("{command:?}");
    match command.output() {
        Ok(output) => Output {
            command: text,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        },
        Err(error) => Output { command: text, code: None, stdout: String::new(), stderr: error.to_string() },
    }
}
