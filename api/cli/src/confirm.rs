//! Nothing is destroyed by a slip: the cloud says that it would, the inventory is shown, then a person
//! types the name or a script says `--yes`.

use clap::Args;
use tepui_types::endpoint::{Endpoint, Whoami};
use tepui_types::rest::Empty;

use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::output::printable;
use crate::session::Session;

/// The options of every destructive command.
#[derive(Debug, Clone, Args)]
pub struct Destroy {
    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Only ask the cloud whether it would, and show what would go
    #[arg(long)]
    pub dry_run: bool,
}

impl Destroy {
    /// Rehearses the endpoint's change, then goes on as [`Destroy::settle`]: what the cloud would refuse
    /// anyway is neither shown nor asked for.
    ///
    /// # Errors
    /// The cloud's refusal, or as there.
    pub async fn approve<E: Endpoint>(
        &self,
        session: &mut Session,
        (path, request): (&[&str], &E::Request),
        inventory: &[String],
        name: &str,
    ) -> Result<bool> {
        session.rehearse::<E>(path, request).await?;
        self.settle(session, inventory, name).await
    }

    /// Names cloud and project, then goes on as [`Destroy::confirm`].
    ///
    /// # Errors
    /// As there, or the cloud does not answer.
    pub async fn settle(&self, session: &mut Session, inventory: &[String], name: &str) -> Result<bool> {
        let project = session.call::<Whoami>(&[], &Empty {}).await?.project.name;
        let place = format!("on:      {}, project {project}", session.url()?);
        session.note(&printable(&place));
        self.confirm(session, inventory, name).await
    }

    /// Shows `inventory` and returns whether to go on; `false` means a dry run.
    ///
    /// # Errors
    /// The answer was not `name`, or nobody can be asked.
    pub async fn confirm(&self, session: &mut Session, inventory: &[String], name: &str) -> Result<bool> {
        for line in inventory {
            session.note(&printable(line));
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
        let answer = session.ask(&format!("Type '{}' to go on: ", printable(name))).await?;
        if answer == name {
            return Ok(true);
        }
        Err(Failure::new(Exit::Failed, format!("not confirmed: '{answer}' is not '{name}'"))
            .why("nothing was deleted"))
    }
}
