//! People and programs, for administrators.

use clap::Subcommand;
use tepui_types::endpoint::{CreateUser, DeleteUser, ListUsers};
use tepui_types::rest::{CreateUserRequest, Empty, Role, User};

use super::{when, word};
use crate::cli::examples;
use crate::complete::{Kind, names};
use crate::confirm::Destroy;
use crate::failure::{Failure, Result};
use crate::output::Shown;
use crate::repeat;
use crate::session::Session;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the users
    #[command(before_help = examples!("tepui user list", "tepui user list --json=name,role"))]
    List,
    /// Create a user; then make a key with `tepui key create`
    #[command(before_help = examples!("tepui user create ada", "tepui user create ops --administrator"))]
    Create {
        /// Unique in the cloud
        name: String,
        /// May do everything in every project, and manage projects, users and nodes
        #[arg(long)]
        administrator: bool,
    },
    /// Delete a user without access keys
    #[command(before_help = examples!("tepui user delete ada", "tepui user delete ada --yes"))]
    Delete {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::User))]
        user: String,
        /// Confirmation.
        #[command(flatten)]
        destroy: Destroy,
    },
}

impl Shown for User {
    const COLUMNS: &'static [&'static str] = &["name", "id", "role", "created"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.id.to_string(), word(&self.role), when(self.created_at)]
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// Runs one of them.
///
/// # Errors
/// What the command met.
pub async fn run(verb: Verb, session: &mut Session) -> Result<()> {
    match verb {
        Verb::List => {
            let list = session.call::<ListUsers>(&[], &Empty {}).await?;
            session.list(&list.items, "No users yet. Create one: tepui user create ada")
        }
        Verb::Create { name, administrator } => {
            let role = if administrator { Role::Administrator } else { Role::Member };
            create(CreateUserRequest { name, role }, session).await
        }
        Verb::Delete { user, destroy } => {
            let inventory = [format!("deletes: user {user}")];
            let call = (&[user.as_str()][..], &Empty {});
            if destroy.approve::<DeleteUser>(session, call, &inventory, &user).await? {
                session.call::<DeleteUser>(&[&user], &Empty {}).await?;
                session.id(&user)?;
            }
            Ok(())
        }
    }
}

async fn create(request: CreateUserRequest, session: &mut Session) -> Result<()> {
    let user = match session.call::<CreateUser>(&[], &request).await {
        Err(failure) if repeat::is_taken(&failure) => present(&request, failure, session).await?,
        created => created?,
    };
    session.show(&user)
}

async fn present(request: &CreateUserRequest, taken: Failure, session: &mut Session) -> Result<User> {
    let list = session.call::<ListUsers>(&[], &Empty {}).await?;
    let user = list.items.into_iter().find(|user| user.name == request.name).ok_or(taken)?;
    repeat::same("user", &user.name, &[("role", word(&request.role), word(&user.role))])?;
    Ok(user)
}
