//! Manual pages, one a command.

use std::fs;
use std::path::PathBuf;

use clap::{Args, CommandFactory};

use crate::cli::Cli;
use crate::failure::{Failure, Result};
use crate::session::Session;

/// Where to.
#[derive(Debug, Args)]
pub struct Man {
    /// An existing or new directory
    directory: PathBuf,
}

/// Writes the pages.
///
/// # Errors
/// The directory cannot be made or written.
pub fn run(man: &Man, session: &mut Session) -> Result<()> {
    let failed = |e| Failure::io(man.directory.display(), &e);
    fs::create_dir_all(&man.directory).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), &man.directory).map_err(failed)?;
    session.note(&format!("read them with: man {}", man.directory.join("tepui.1").display()));
    session.print(&format!("{}\n", man.directory.display()))
}
