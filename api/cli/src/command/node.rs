//! Hosts, for administrators.

use clap::Subcommand;
use tepui_types::endpoint::{
    CreateJoinToken, DrainNode, ExpungeNode, ListNodes, ListPools, ShowNode, UndrainNode,
};
use tepui_types::rest::{Empty, ExpungeNodeRequest, Node, NodeState};

use super::{when, word};
use crate::cli::examples;
use crate::complete::{Kind, names};
use crate::confirm::Destroy;
use crate::failure::Result;
use crate::output::{Format, Shown};
use crate::session::Session;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the nodes
    #[command(before_help = examples!("tepui node list", "tepui node list --json=name,state,used"))]
    List,
    /// Show a node
    #[command(before_help = examples!("tepui node show node-1", "tepui node show node-1 --json=capacity,used"))]
    Show {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::Node))]
        node: String,
    },
    /// Keep new instances off a node
    #[command(before_help = examples!("tepui node drain node-1", "tepui node drain node-1 --quiet"))]
    Drain {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::Node))]
        node: String,
    },
    /// Let new instances onto a node again
    #[command(before_help = examples!("tepui node undrain node-1", "tepui node undrain node-1 --quiet"))]
    Undrain {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::Node))]
        node: String,
    },
    /// Give a node up for good, and every instance on it
    #[command(before_help = examples!("tepui node expunge node-1", "tepui node expunge node-1 --dry-run"))]
    #[command(
        long_about = "Give a node up for good, every instance on it, and what is in its pools. You vouch that nothing of it runs any more: it is off, and stays off."
    )]
    Expunge {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::Node))]
        node: String,
        /// Confirmation.
        #[command(flatten)]
        destroy: Destroy,
    },
    /// Make a token that lets one host join, for an hour
    #[command(before_help = examples!("tepui node join-token", "tepui node join-token --quiet"))]
    JoinToken,
}

impl Shown for Node {
    const COLUMNS: &'static [&'static str] = &["name", "id", "state", "vcpus", "memory", "disk", "message"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.id.to_string(),
            word(&self.state),
            format!("{}/{}", self.used.vcpus, self.capacity.vcpus),
            format!("{}/{} MiB", self.used.memory_mib, self.capacity.memory_mib),
            format!("{}/{} GiB", self.used.disk_gib, self.capacity.disk_gib),
            message(self),
        ]
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// Fully operational, or why not.
fn message(node: &Node) -> String {
    match (node.state, &node.impaired) {
        (NodeState::Unreachable, _) => format!("not heard of since {}", when(node.state_since)),
        (NodeState::Expunged, _) => format!("given up at {}", when(node.state_since)),
        (NodeState::Up, Some(reason)) => reason.clone(),
        (NodeState::Up, None) if !node.schedulable => "drained: takes no new instances".into(),
        (NodeState::Up, None) => "fully operational".into(),
    }
}

/// Runs one of them.
///
/// # Errors
/// What the command met.
pub async fn run(verb: Verb, session: &mut Session) -> Result<()> {
    match verb {
        Verb::List => {
            let list = session.call::<ListNodes>(&[], &Empty {}).await?;
            session.list(
                &list.items,
                "No nodes yet. On this machine: tepui node join-token   On the host: tepui-node join TOKEN",
            )
        }
        Verb::Show { node } => {
            let node = session.call::<ShowNode>(&[&node], &Empty {}).await?;
            session.show(&node)
        }
        Verb::Drain { node } => {
            let node = session.call::<DrainNode>(&[&node], &Empty {}).await?;
            session.show(&node)
        }
        Verb::Undrain { node } => {
            let node = session.call::<UndrainNode>(&[&node], &Empty {}).await?;
            session.show(&node)
        }
        Verb::Expunge { node, destroy } => expunge(&node, &destroy, session).await,
        Verb::JoinToken => join_token(session).await,
    }
}

async fn expunge(word: &str, destroy: &Destroy, session: &mut Session) -> Result<()> {
    let node = session.call::<ShowNode>(&[word], &Empty {}).await?;
    let used = node.used;
    let mut inventory = vec![
        format!("gives up: node {} ({}), {}", node.name, node.id, message(&node)),
        format!(
            "with all its instances: {} vCPU, {} MiB, {} GiB of disks",
            used.vcpus, used.memory_mib, used.disk_gib
        ),
    ];
    let pools = session.call::<ListPools>(&[], &Empty {}).await?;
    inventory.extend(pools.items.iter().filter(|pool| pool.node_id == node.id).map(|pool| {
        format!(
            "loses: what is in pool {}: {} volumes, {} snapshots",
            pool.name, pool.volumes, pool.snapshots
        )
    }));
    inventory.push("you vouch that this host is off and stays off".to_owned());
    let id = node.id.to_string();
    let request = ExpungeNodeRequest { confirm: id.clone() };
    if destroy.approve::<ExpungeNode>(session, (&[&id], &request), &inventory, &node.name).await? {
        let expunged = session.call::<ExpungeNode>(&[&id], &request).await?;
        session.note(&format!("{} instances were given up with it", expunged.instances));
        session.show(&expunged.node)?;
    }
    Ok(())
}

/// The token alone is the answer, so that `$(tepui node join-token)` works.
async fn join_token(session: &mut Session) -> Result<()> {
    let token = session.call::<CreateJoinToken>(&[], &Empty {}).await?;
    if matches!(session.format, Format::Json(_)) {
        return session.object(&token);
    }
    session.note(&format!(
        "valid once, until {}; on the host: sudo tepui-node --config FILE join TOKEN",
        when(token.expires_at)
    ));
    session.print(&format!("{}\n", token.token))
}
