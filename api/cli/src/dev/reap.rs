//! A parent for daemons whose children outlive them. libvirtd's guests are orphans; who adopts them
//! must collect them at once, since libvirt takes a guest for alive until somebody has. The machine's
//! first process may take seconds.

use std::ffi::OsString;
use std::process::Command;

use clap::Args;
use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::wait;

use crate::failure::{Failure, Result};

/// Options of `tepui dev reap`.
#[derive(Debug, Clone, Args)]
pub struct Reap {
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

/// Ends when the program and every orphan of it has ended.
pub(super) fn run(reap: &Reap) -> Result<()> {
    set_child_subreaper(true).map_err(|e| Failure::io("becoming a subreaper", &e.into()))?;
    let [program, arguments @ ..] = reap.command.as_slice() else { return Ok(()) };
    Command::new(program)
        .args(arguments)
        .spawn()
        .map_err(|e| Failure::io(format!("starting {}", program.display()), &e))?;
    loop {
        match wait() {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(()),
            Err(error) => return Err(Failure::io("waiting for a child", &error.into())),
        }
    }
}
