//! Clients that open what a host serves: QEMU's own, by way of qemu-io.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::lab::PATIENCE;

/// Somebody who opens an export.
pub(crate) trait Opener {
    /// qemu-io with its file, and no command yet.
    fn qemu_io(&self) -> Command;

    /// Carries out commands of qemu-io.
    fn perform(&self, commands: &[&str], read_only: bool) -> Output {
        let mut qemu_io = self.qemu_io();
        if read_only {
            qemu_io.arg("-r");
        }
        for command in commands {
            qemu_io.args(["-c", command]);
        }
        qemu_io.output().unwrap()
    }

    /// That it is let in and reads.
    fn opens(&self) {
        let output = self.perform(&["read 0 4k"], true);
        assert!(told(&output).contains("read 4096/4096"), "{}", told(&output));
    }

    /// What its refusal says.
    fn refusal(&self) -> String {
        let output = self.perform(&["read 0 4k"], true);
        assert!(!output.status.success(), "it was let in: {}", told(&output));
        told(&output)
    }

    /// One that stays.
    fn connect(&self) -> Client {
        Client::start(self.qemu_io())
    }
}

pub(crate) fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn lines(output: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

/// A running qemu-io.
pub(crate) struct Client {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Client {
    /// Starts qemu-io without commands.
    pub(crate) fn start(mut qemu_io: Command) -> Self {
        let mut child =
            qemu_io.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, lines: lines(output) }
    }

    /// Gives it a command without waiting.
    pub(crate) fn send(&mut self, command: &str) {
        writeln!(self.input, "{command}").unwrap();
    }

    /// Whether the command sent last was carried out within `patience`.
    pub(crate) fn is_done(&mut self, patience: Duration) -> bool {
        self.hears(&["wrote ", "read "], patience)
    }

    /// What it reads there.
    pub(crate) fn read(&mut self, offset: u64, bytes: usize) -> Vec<u8> {
        self.send(&format!("read -v {offset} {bytes}"));
        let deadline = std::time::Instant::now() + PATIENCE;
        let mut found = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            let line = self.lines.recv_timeout(left).unwrap();
            if line.contains(&format!("read {bytes}/{bytes} bytes")) {
                return found;
            }
            assert!(!line.contains("failed: "), "{line}");
            // The place, sixteen bytes, and what they are as text.
            if let Some((_, shown)) = line.split_once(":  ") {
                let words = shown.get(..48).unwrap_or(shown).split_ascii_whitespace();
                found.extend(words.map(|word| u8::from_str_radix(word, 16).unwrap()));
            }
        }
    }

    /// Whether the command sent last failed within `patience`.
    pub(crate) fn fails(&mut self, patience: Duration) -> bool {
        self.hears(&["failed: "], patience)
    }

    fn hears(&mut self, words: &[&str], patience: Duration) -> bool {
        let deadline = std::time::Instant::now() + patience;
        while let Ok(line) =
            self.lines.recv_timeout(deadline.saturating_duration_since(std::time::Instant::now()))
        {
            if words.iter().any(|word| line.contains(word)) {
                return true;
            }
        }
        false
    }

    pub(crate) fn perform(&mut self, command: &str) {
        self.send(command);
        assert!(self.is_done(PATIENCE), "{command}");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}
