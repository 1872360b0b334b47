//! The long poll of desired state.

use serde::{Deserialize, Serialize};

use super::{NodePart, StoragePart, VpcPart, WantedSending};
use crate::{Digest, Epoch, Generation, NodeId, PlacementId, VpcId};

/// Names one part of the desired state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum PartKey {
    /// The node's own part: its placements.
    Node(NodeId),
    /// A VPC that the node carries.
    Vpc(VpcId),
    /// What the node's pools hold and serve.
    Storage(NodeId),
}

/// A part the agent has in its ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HavePart {
    /// Which part.
    pub key: PartKey,
    /// Its generation.
    pub generation: Generation,
}

/// Asks for the parts that changed, and waits until one does.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollRequest {
    /// The epoch of the agent's ledger; 0 when it is empty.
    pub epoch: Epoch,
    /// Changes whenever the agent process starts. Two that alternate are two agents with one
    /// identity.
    pub agent_run: u64,
    /// What the agent has.
    pub have: Vec<HavePart>,
    /// The sequence of the last report of this run that was answered; 0 when none was. Reports are
    /// kept in memory only: a control plane that does not have this one asks for it.
    #[serde(default)]
    pub reported: u64,
    /// How long to wait for a change, in milliseconds; the server caps it at 60,000.
    pub wait_ms: u64,
}

/// The content of one part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PartBody {
    /// Placements and disks.
    Node(NodePart),
    /// A network.
    Vpc(VpcPart),
    /// Pools, volumes, snapshots, exports.
    Storage(StoragePart),
    /// The node no longer carries this VPC: remove it once no guest uses it.
    Absent,
}

/// One part of the desired state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Which part.
    pub key: PartKey,
    /// Newer wins; the same with other content is refused.
    pub generation: Generation,
    /// The content.
    pub body: PartBody,
}

impl Part {
    /// Digest of the content, by which the agent tells a repeated part from a contradicting one.
    pub fn content_digest(&self) -> Digest {
        let bytes = serde_json::to_vec(&self.body).unwrap_or_default();
        Digest::of(&bytes)
    }
}

/// The parts that changed. Empty when the wait ended without a change. The control plane replies with
/// [`SharedPart`](super::SharedPart)s, of which each is built once for all its nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollReply<P = Part> {
    /// The database's epoch.
    pub epoch: Epoch,
    /// Parts newer than those the agent has.
    pub parts: Vec<P>,
    /// Placements whose serial console somebody waits for.
    pub wanted_consoles: Vec<PlacementId>,
    /// Content of snapshots that somebody waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanted_sendings: Vec<WantedSending>,
    /// The report that the agent named is not here, for example after a restart: send one now.
    #[serde(default)]
    pub wants_report: bool,
}
