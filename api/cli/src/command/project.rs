//! Projects, for administrators.

use clap::Subcommand;
use tepui_types::endpoint::{CreateProject, DeleteProject, ListProjects, ShowProject};
use tepui_types::rest::{CreateProjectRequest, Empty, Project};

use super::when;
use crate::cli::examples;
use crate::complete::{Kind, names};
use crate::confirm::Destroy;
use crate::failure::Result;
use crate::output::Shown;
use crate::repeat;
use crate::session::Session;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the projects
    #[command(before_help = examples!("tepui project list", "tepui project list --json=id,name,quota"))]
    List,
    /// Show a project
    #[command(before_help = examples!("tepui project show default", "tepui project show default --json=quota"))]
    Show {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::Project))]
        project: String,
    },
    /// Create a project with its own network
    #[command(before_help = examples!("tepui project create research", "tepui project create research --quiet"))]
    Create {
        /// Unique in the cloud
        name: String,
    },
    /// Delete a project that owns nothing
    #[command(before_help = examples!("tepui project delete research", "tepui project delete research --dry-run"))]
    Delete {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::Project))]
        project: String,
        /// Confirmation.
        #[command(flatten)]
        destroy: Destroy,
    },
}

impl Shown for Project {
    const COLUMNS: &'static [&'static str] =
        &["name", "id", "instances", "vcpus", "memory", "volumes", "created"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.id.to_string(),
            self.quota.instances.to_string(),
            self.quota.vcpus.to_string(),
            format!("{} MiB", self.quota.memory_mib),
            format!("{} ({} GiB)", self.quota.volumes, self.quota.volume_gib),
            when(self.created_at),
        ]
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
            let list = session.call::<ListProjects>(&[], &Empty {}).await?;
            session.list(&list.items, "No projects yet. Create one: tepui project create research")
        }
        Verb::Show { project } => {
            let project = session.call::<ShowProject>(&[&project], &Empty {}).await?;
            session.show(&project)
        }
        Verb::Create { name } => create(name, session).await,
        Verb::Delete { project, destroy } => delete(&project, &destroy, session).await,
    }
}

async fn create(name: String, session: &mut Session) -> Result<()> {
    let request = CreateProjectRequest { name, quota: None };
    let project = match session.call::<CreateProject>(&[], &request).await {
        Err(failure) if repeat::is_taken(&failure) => {
            session.call::<ShowProject>(&[&request.name], &Empty {}).await?
        }
        created => created?,
    };
    session.show(&project)
}

async fn delete(word: &str, destroy: &Destroy, session: &mut Session) -> Result<()> {
    let project = session.call::<ShowProject>(&[word], &Empty {}).await?;
    let inventory = [format!("deletes: project {} ({}) and its network", project.name, project.id)];
    let id = project.id.to_string();
    if destroy.approve::<DeleteProject>(session, (&[&id], &Empty {}), &inventory, &project.name).await? {
        session.call::<DeleteProject>(&[&id], &Empty {}).await?;
        session.id(&id)?;
    }
    Ok(())
}
