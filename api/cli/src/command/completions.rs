//! Completions of shells.

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::{Shell, generate};

use crate::cli::Cli;
use crate::failure::Result;
use crate::session::Session;

/// For which shell.
#[derive(Debug, Args)]
#[command(after_help = "For this session: source <(tepui completions bash)")]
pub struct Completions {
    /// The shell
    shell: Kind,
}

/// The shells.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Kind {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}

impl From<Kind> for Shell {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Bash => Self::Bash,
            Kind::Zsh => Self::Zsh,
            Kind::Fish => Self::Fish,
        }
    }
}

/// Prints the script.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(completions: Completions, session: &mut Session) -> Result<()> {
    let mut script = Vec::new();
    generate(Shell::from(completions.shell), &mut Cli::command(), "tepui", &mut script);
    session.print(&String::from_utf8_lossy(&script))
}
