//! Programs of the system that do what safe code cannot: a child of another namespace needs a call
//! between fork and exec, so `ip`, `nsenter` and `unshare` start it.

use std::path::Path;
use std::process::Command;

use nix::sys::statfs::{NSFS_MAGIC, statfs};

use super::names::NETNS;
use crate::failure::{Failure, Result};

/// Runs a program and returns what it printed.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<String> {
    finish(Command::new(program).args(arguments))
}

/// Runs a prepared command and returns what it printed.
pub(super) fn finish(command: &mut Command) -> Result<String> {
    let name = command.get_program().display().to_string();
    let output = command.output().map_err(|e| Failure::io(format!("running {name}"), &e))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let arguments: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(Failure::failed(format!("{name} {} failed", arguments.join(" "))).why(errors.trim()))
}

/// Runs `ip` with the words of a line, in a network namespace.
pub(super) fn ip_in(namespace: &str, line: &str) -> Result<String> {
    let words: Vec<&str> = ["-n", namespace].into_iter().chain(line.split_whitespace()).collect();
    run("ip", &words)
}

/// Runs `ip` with the words of a line.
pub(super) fn ip(line: &str) -> Result<String> {
    run("ip", &line.split_whitespace().collect::<Vec<_>>())
}

/// Whether a namespace is bound to `path`.
pub(super) fn is_namespace(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.filesystem_type() == NSFS_MAGIC)
}

/// Makes a named network namespace with its loopback up.
pub(super) fn ensure_netns(name: &str) -> Result<()> {
    if !is_namespace(&Path::new(NETNS).join(name)) {
        ip(&format!("netns add {name}"))?;
    }
    ip_in(name, "link set lo up").map(drop)
}

/// Whether a link is in a namespace.
pub(super) fn has_link(namespace: &str, link: &str) -> bool {
    ip_in(namespace, &format!("link show {link}")).is_ok()
}
