//! A project's limits, for administrators.

use clap::{Args, Subcommand};
use tepui_types::endpoint::{SetQuota, ShowProject};
use tepui_types::rest::{Empty, Quota};

use crate::cli::examples;
use crate::complete::{Kind, names};
use crate::failure::Result;
use crate::session::Session;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show a project's limits
    #[command(before_help = examples!("tepui quota show default", "tepui quota show default --json=vcpus"))]
    Show {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::Project))]
        project: String,
    },
    /// Set limits; those not named stay
    #[command(before_help = examples!("tepui quota set default --vcpus 64", "tepui quota set default --instances 50 --memory-mib 131072"))]
    Set(Set),
}

/// Which limits of which project.
#[derive(Debug, Args)]
#[group(id = "limits", required = true, multiple = true)]
pub struct Limits {
    /// Instances
    #[arg(long, allow_negative_numbers = true)]
    instances: Option<u32>,
    /// Virtual CPUs
    #[arg(long, allow_negative_numbers = true)]
    vcpus: Option<u32>,
    /// Memory in MiB
    #[arg(long, allow_negative_numbers = true)]
    memory_mib: Option<u64>,
    /// Volumes of pools
    #[arg(long, allow_negative_numbers = true)]
    volumes: Option<u32>,
    /// The sum of their sizes in GiB
    #[arg(long, allow_negative_numbers = true)]
    volume_gib: Option<u64>,
}

/// New limits of a project.
#[derive(Debug, Args)]
pub struct Set {
    /// Name, id or a unique beginning
    #[arg(add = names(Kind::Project))]
    project: String,
    /// The limits.
    #[command(flatten)]
    limits: Limits,
}

/// Runs one of them.
///
/// # Errors
/// What the command met.
pub async fn run(verb: Verb, session: &mut Session) -> Result<()> {
    match verb {
        Verb::Show { project } => {
            let project = session.call::<ShowProject>(&[&project], &Empty {}).await?;
            session.object(&project.quota)
        }
        Verb::Set(set) => {
            let project = session.call::<ShowProject>(&[&set.project], &Empty {}).await?;
            let quota = set.limits.over(project.quota);
            let project = session.call::<SetQuota>(&[&project.id.to_string()], &quota).await?;
            session.object(&project.quota)
        }
    }
}

impl Limits {
    fn over(&self, present: Quota) -> Quota {
        Quota {
            instances: self.instances.unwrap_or(present.instances),
            vcpus: self.vcpus.unwrap_or(present.vcpus),
            memory_mib: self.memory_mib.unwrap_or(present.memory_mib),
            volumes: self.volumes.unwrap_or(present.volumes),
            volume_gib: self.volume_gib.unwrap_or(present.volume_gib),
        }
    }
}
