//! Access keys: the credentials of users in projects.

use clap::Subcommand;
use tepui_types::endpoint::{CreateAccessKey, DeleteAccessKey, ListAccessKeys};
use tepui_types::rest::{AccessKey, CreateAccessKeyRequest, CreatedAccessKey, ListAccessKeysRequest};

use super::when;
use crate::cli::examples;
use crate::complete::{Kind, names};
use crate::confirm::Destroy;
use crate::failure::Result;
use crate::output::{Format, Shown};
use crate::session::Session;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the access keys of a project
    #[command(before_help = examples!("tepui key list", "tepui key list --project research"))]
    List {
        /// Name, id or a unique beginning; yours when absent
        #[arg(long, add = names(Kind::Project))]
        project: Option<String>,
    },
    /// Make an access key; its secret is shown this once
    #[command(before_help = examples!("tepui key create --user ada --project research", "eval \"$(tepui key create)\""))]
    Create {
        /// For whom; yourself when absent
        #[arg(long, add = names(Kind::User))]
        user: Option<String>,
        /// In which project; yours when absent
        #[arg(long, add = names(Kind::Project))]
        project: Option<String>,
    },
    /// Delete an access key; it ends at once
    #[command(before_help = examples!("tepui key delete TPAK234567ABCDEFGHIJ", "tepui key delete TPAK234567ABCDEFGHIJ --project research --yes"))]
    Delete {
        /// The key's id
        #[arg(add = names(Kind::AccessKey))]
        key: String,
        /// In which project; yours when absent
        #[arg(long, add = names(Kind::Project))]
        project: Option<String>,
        /// Confirmation.
        #[command(flatten)]
        destroy: Destroy,
    },
}

impl Shown for AccessKey {
    const COLUMNS: &'static [&'static str] = &["id", "user", "project", "created"];

    fn cells(&self) -> Vec<String> {
        vec![self.id.clone(), self.user_name.clone(), self.project_id.to_string(), when(self.created_at)]
    }

    fn id(&self) -> String {
        self.id.clone()
    }
}

/// Runs one of them.
///
/// # Errors
/// What the command met.
pub async fn run(verb: Verb, session: &mut Session) -> Result<()> {
    match verb {
        Verb::List { project } => {
            let list = session.call::<ListAccessKeys>(&[], &ListAccessKeysRequest { project }).await?;
            session.list(&list.items, "No access keys yet. Make one: tepui key create --user NAME")
        }
        Verb::Create { user, project } => {
            let created =
                session.call::<CreateAccessKey>(&[], &CreateAccessKeyRequest { user, project }).await?;
            show(&created, session)
        }
        Verb::Delete { key, project, destroy } => {
            let inventory = [format!("deletes: access key {key}; programs that use it are refused at once")];
            let request = ListAccessKeysRequest { project };
            if destroy.approve::<DeleteAccessKey>(session, (&[&key], &request), &inventory, &key).await? {
                session.call::<DeleteAccessKey>(&[&key], &request).await?;
                session.id(&key)?;
            }
            Ok(())
        }
    }
}

/// In shell syntax, because that is where it goes next.
fn show(created: &CreatedAccessKey, session: &mut Session) -> Result<()> {
    match session.format {
        Format::Json(_) => session.object(created),
        Format::Ids => session.id(&created.access_key.id),
        Format::Table { .. } | Format::Tabs => {
            session.note("The secret is shown this once and kept nowhere.");
            let url = session.url()?.to_owned();
            session.print(&format!(
                "export AWS_ACCESS_KEY_ID={}\nexport AWS_SECRET_ACCESS_KEY={}\n\
                 export TEPUI_URL={url} TEPUI_TOKEN={}\n",
                created.access_key.id, created.secret_access_key, created.token
            ))
        }
    }
}
