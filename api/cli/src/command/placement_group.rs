//! Placement groups: how instances are spread over nodes.

use clap::{Subcommand, ValueEnum};
use tepui_types::endpoint::{CreatePlacementGroup, DeletePlacementGroup, ListPlacementGroups};
use tepui_types::rest::{CreatePlacementGroupRequest, Empty, PlacementGroup, PlacementStrategy};

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
    /// List placement groups
    #[command(before_help = examples!("tepui placement-group list", "tepui placement-group list --quiet"))]
    List,
    /// Create a placement group
    #[command(before_help = examples!("tepui placement-group create apart --strategy spread", "tepui placement-group create near --strategy cluster"))]
    Create {
        /// Unique in the project
        name: String,
        /// How the members are spread
        #[arg(long)]
        strategy: Strategy,
    },
    /// Delete a placement group without members
    #[command(before_help = examples!("tepui placement-group delete apart", "tepui placement-group delete apart --yes"))]
    Delete {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::PlacementGroup))]
        group: String,
        /// Confirmation.
        #[command(flatten)]
        destroy: Destroy,
    },
}

/// How members are spread.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Strategy {
    /// Each on a node of its own, or not at all
    Spread,
    /// Together on as few nodes as possible
    Cluster,
}

impl From<Strategy> for PlacementStrategy {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Spread => Self::Spread,
            Strategy::Cluster => Self::Cluster,
        }
    }
}

impl Shown for PlacementGroup {
    const COLUMNS: &'static [&'static str] = &["name", "id", "strategy", "created"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.id.to_string(), word(&self.strategy), when(self.created_at)]
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
            let list = session.call::<ListPlacementGroups>(&[], &Empty {}).await?;
            session.list(&list.items, "No placement groups yet. See: tepui placement-group create --help")
        }
        Verb::Create { name, strategy } => create(&name, strategy.into(), session).await,
        Verb::Delete { group, destroy } => {
            let inventory = [format!("deletes: placement group {group}")];
            let call = (&[group.as_str()][..], &Empty {});
            if destroy.approve::<DeletePlacementGroup>(session, call, &inventory, &group).await? {
                session.call::<DeletePlacementGroup>(&[&group], &Empty {}).await?;
                session.id(&group)?;
            }
            Ok(())
        }
    }
}

async fn create(name: &str, strategy: PlacementStrategy, session: &mut Session) -> Result<()> {
    let request = CreatePlacementGroupRequest { name: name.into(), strategy };
    let group = match session.call::<CreatePlacementGroup>(&[], &request).await {
        Err(failure) if repeat::is_taken(&failure) => present(name, strategy, failure, session).await?,
        created => created?,
    };
    session.show(&group)
}

async fn present(
    name: &str,
    strategy: PlacementStrategy,
    taken: Failure,
    session: &mut Session,
) -> Result<PlacementGroup> {
    let list = session.call::<ListPlacementGroups>(&[], &Empty {}).await?;
    let group = list.items.into_iter().find(|group| group.name == name).ok_or(taken)?;
    repeat::same("placement-group", name, &[("strategy", word(&strategy), word(&group.strategy))])?;
    Ok(group)
}
