//! Nothing is destroyed by a slip: the inventory is shown, then a person types the name or a
//! script says `--yes`.

use clap::Args;

use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::session::Session;

/// The options of every destructive command.
#[derive(Debug, Clone, Args)]
pub struct Destroy {
    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Only show what would go
    #[arg(long)]
    pub dry_run: bool,
}

impl Destroy {
    /// Shows `inventory` and returns whether to go on; `false` means a dry run.
    ///
    /// # Errors
    /// The answer was not `name`, or nobody can be asked.
    pub async fn confirm(&self, session: &mut Session, inventory: &[String], name: &str) -> Result<bool> {
        for line in inventory {
            session.note(&crate::output::printable(line));
        }
        if self.dry_run {
            session.note("dry run: nothing was done");
            return Ok(false);
        }
        if self.yes {
            return Ok(true);
        }
        if !session.world.stdin_is_terminal {
            return Err(Failure::usage(format!("'{name}' is not deleted without a confirmation"))
                .why("nobody can be asked: standard input is no terminal")
                .try_("the same command with --yes")
                .docs("tepui help output"));
        }
        let answer = session.ask(&format!("Type '{}' to go on: ", crate::output::printable(name))).await?;
        if answer == name {
            return Ok(true);
        }
        Err(Failure::new(Exit::Failed, format!("not confirmed: '{answer}' is not '{name}'"))
            .why("nothing was deleted"))
    }
}
