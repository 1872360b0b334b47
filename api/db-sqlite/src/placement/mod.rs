//! Desired state as it goes to the nodes, observed state as it comes back.

mod adoption;
mod parts;
mod transition;

use async_trait::async_trait;
use jiff::Timestamp;
use tepui_db::model::StateReason;
use tepui_db::{Adoption, DbError, ExpungeOutcome, NodePartState, PlacementDb, Transition};
use tepui_types::agent::{HavePart, VpcPart};
use tepui_types::{Generation, NodeId, PlacementId, VpcId};

use crate::SqliteDb;

pub(crate) use transition::{free, stop_fenced};

#[async_trait]
impl PlacementDb for SqliteDb {
    async fn part_generations(&self, node: NodeId) -> Result<Vec<HavePart>, DbError> {
        self.read(move |connection| parts::generations(connection, node)).await
    }

    async fn node_generation(&self, node: NodeId) -> Result<Option<Generation>, DbError> {
        self.read(move |connection| parts::node_generation(connection, node)).await
    }

    async fn node_part(&self, node: NodeId) -> Result<Option<NodePartState>, DbError> {
        self.read(move |connection| parts::node(connection, node)).await
    }

    async fn vpc_part(&self, vpc: VpcId) -> Result<Option<(Generation, VpcPart)>, DbError> {
        self.read(move |connection| parts::vpc(connection, vpc)).await
    }

    async fn vpc_generations(&self, vpcs: &[VpcId]) -> Result<Vec<(VpcId, Generation)>, DbError> {
        let vpcs = vpcs.to_vec();
        self.read(move |connection| parts::vpc_generations(connection, &vpcs)).await
    }

    async fn live_placements(&self, ids: &[PlacementId]) -> Result<Vec<PlacementId>, DbError> {
        let ids = ids.to_vec();
        self.read(move |connection| parts::live_placements(connection, &ids)).await
    }

    async fn apply_transitions(
        &self,
        node: NodeId,
        transitions: &[Transition],
        now: Timestamp,
    ) -> Result<Vec<PlacementId>, DbError> {
        let transitions = transitions.to_vec();
        self.write(move |connection| transition::apply(connection, node, &transitions, now)).await
    }

    async fn adopt(
        &self,
        node: NodeId,
        adoptions: &[Adoption],
        now: Timestamp,
    ) -> Result<Vec<PlacementId>, DbError> {
        let adoptions = adoptions.to_vec();
        self.write(move |connection| adoption::adopt(connection, node, &adoptions, now)).await
    }

    async fn expunge_node(
        &self,
        node: NodeId,
        reason: &StateReason,
        now: Timestamp,
    ) -> Result<ExpungeOutcome, DbError> {
        let reason = reason.clone();
        self.write(move |connection| transition::expunge(connection, node, &reason, now)).await
    }
}
