//! Completions of shells.

use clap::{Args, ValueEnum};
use clap_complete::env::Shells;

use crate::complete::VARIABLE;
use crate::failure::{Failure, Result};
use crate::session::Session;

/// For which shell.
#[derive(Debug, Args)]
#[command(
    after_help = "For this session: source <(tepui completions bash). Names of objects come from the cloud; one that \
                  does not answer within 0.7 s offers none."
)]
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

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }
}

/// Prints the script, which asks this program at each key press.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(completions: Completions, session: &mut Session) -> Result<()> {
    let (shells, name) = (Shells::builtins(), completions.shell.name());
    let mut script = Vec::new();
    let written = shells
        .completer(name)
        .map(|shell| shell.write_registration(VARIABLE, "tepui", "tepui", "tepui", &mut script));
    written.transpose().map_err(|e| Failure::io("the script", &e))?;
    session.print(&String::from_utf8_lossy(&script))
}
