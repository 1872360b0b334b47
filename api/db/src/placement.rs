//! Desired state as it goes to the nodes, observed state as it comes back.

use async_trait::async_trait;
use jiff::Timestamp;
use tepui_types::agent::{HavePart, VpcPart};
use tepui_types::{Generation, NodeId, PlacementId, VpcId};

use crate::DbError;
use crate::model::{Freeze, InstanceRecord, InstanceState, SecurityGroup, StateReason, Subnet, Vpc};

/// Everything on one node, from which core builds the node's part.
#[derive(Debug, Clone, PartialEq)]
pub struct NodePartState {
    /// The part's generation.
    pub generation: Generation,
    /// Instances with a placement on the node that is not gone, in order of placement ids. Those
    /// shutting down or terminated are to be absent.
    pub records: Vec<InstanceRecord>,
    /// The groups their interfaces name, by id.
    pub groups: Vec<SecurityGroup>,
    /// The VPCs their interfaces are in, by id.
    pub vpcs: Vec<Vpc>,
    /// The subnets their interfaces are in, by id.
    pub subnets: Vec<Subnet>,
    /// The guests that hold still, or are to.
    pub freezes: Vec<Freeze>,
}

/// A change of an instance's state that an observation brings. Core computes it from a snapshot;
/// the store applies it only if the instance is still in `from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The incarnation that was observed.
    pub placement_id: PlacementId,
    /// The state it was computed for.
    pub from: InstanceState,
    /// The new state; may equal `from` when only the words or `gone` are news. `Terminated` with
    /// `gone` releases interface, addresses and disk; `Stopped` with `gone` the place of an instance that boots from
    /// a volume, which is stopped once the exports of its volumes are closed.
    pub to: InstanceState,
    /// Why; `None` clears it.
    pub reason: Option<StateReason>,
    /// The agent's words, for `explain`.
    pub observed: String,
    /// The node confirmed that nothing is left. Means nothing for other states: an instance that is still wanted
    /// keeps its place.
    pub gone: bool,
}

/// What a node has of an instance, for a database that was restored from a backup and does not know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// The incarnation.
    pub placement_id: PlacementId,
    /// The state it was computed for.
    pub from: InstanceState,
    /// The state that the instance is in.
    pub state: InstanceState,
    /// The last start that was carried out; an older one changes nothing.
    pub start_seq: u64,
    /// The last reboot that was carried out; an older one changes nothing.
    pub reboot_seq: u64,
    /// Why it is in this state.
    pub reason: Option<StateReason>,
    /// The agent's words, for `explain`.
    pub observed: String,
    /// Nothing of it is left on the node: interface, addresses and disk are released.
    pub gone: bool,
}

/// What became of giving up a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpungeOutcome {
    /// It is expunged; so many placements went with it now.
    Expunged(u32),
    /// It is up; nothing was changed.
    Up,
    /// There is no such node.
    NotFound,
}

/// Desired and observed state.
#[async_trait]
pub trait PlacementDb: Send + Sync {
    /// Generations of the parts a node carries: its own and those of the VPCs in which it has a
    /// placement that is not gone.
    async fn part_generations(&self, node: NodeId) -> Result<Vec<HavePart>, DbError>;

    /// The generation of the node's own part; `None` for an unknown node. It grows with every change of
    /// what is wanted on the node.
    async fn node_generation(&self, node: NodeId) -> Result<Option<Generation>, DbError>;

    /// What the node's own part is made of; `None` for an unknown node.
    async fn node_part(&self, node: NodeId) -> Result<Option<NodePartState>, DbError>;

    /// A VPC's part with its generation; `None` for an unknown VPC. `domain` and the nodes'
    /// `vtep_mac` are filled in by core.
    async fn vpc_part(&self, vpc: VpcId) -> Result<Option<(Generation, VpcPart)>, DbError>;

    /// The generations of those of these VPCs that exist.
    async fn vpc_generations(&self, vpcs: &[VpcId]) -> Result<Vec<(VpcId, Generation)>, DbError>;

    /// Those of these placements that are not gone.
    async fn live_placements(&self, ids: &[PlacementId]) -> Result<Vec<PlacementId>, DbError>;

    /// Applies transitions of placements on `node`; returns those that changed a state or released
    /// a placement. Each one that changes what a part says grows that part's generation; new words
    /// alone are stored and grow nothing.
    async fn apply_transitions(
        &self,
        node: NodeId,
        transitions: &[Transition],
        now: Timestamp,
    ) -> Result<Vec<PlacementId>, DbError>;

    /// Takes over what `node` has of those instances with a placement there that are still in `from`;
    /// returns the placements that this concerned. To be called after a restore only, before the node is
    /// told anything.
    async fn adopt(
        &self,
        node: NodeId,
        adoptions: &[Adoption],
        now: Timestamp,
    ) -> Result<Vec<PlacementId>, DbError>;

    /// Gives up a node that is not up: its placements are gone, its instances terminated but for those that boot
    /// from a volume of another node, which are stopped; what is in its pools is lost, and taken from the instances
    /// that have it. The caller
    /// vouches that nothing of the node runs. A node that came up meanwhile is left as it is.
    async fn expunge_node(
        &self,
        node: NodeId,
        reason: &StateReason,
        now: Timestamp,
    ) -> Result<ExpungeOutcome, DbError>;
}
