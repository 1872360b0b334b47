//! Runs programs and keeps what they said.

use std::ffi::OsStr;
use std::process::Command;

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
