//! Nodes.

use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tepui_types::agent::NodeCapacity;
use tepui_types::{NodeId, ProjectId, UserId};
use uuid::Uuid;

use crate::DbError;
use crate::model::{JoinToken, NodeLoad, NodeState};

/// A host that asks to become a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNode {
    /// The id it gets if its machine has none yet.
    pub id: NodeId,
    /// Identity of the machine.
    pub machine_uuid: Uuid,
    /// The host name.
    pub name: String,
    /// Where other nodes reach it.
    pub underlay_address: Ipv4Addr,
    /// A node that its machine has already may get this address instead of its own.
    pub may_move: bool,
    /// What it offers.
    pub capacity: NodeCapacity,
}

/// What a certificate is to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// It may act for the node.
    Current,
    /// It may once it is promoted, which its first use does.
    Pending,
    /// It may not.
    Foreign,
}

/// What became of an enrolment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrolOutcome {
    /// This is its id: new, or the one its machine had. The token is used up for every other machine.
    Enrolled(NodeId),
    /// No such token.
    UnknownToken,
    /// The token ended at this time.
    Expired(Timestamp),
    /// Another machine used it.
    UsedByOther,
    /// The machine's node has another address, and may not move. Nothing was changed.
    Elsewhere {
        /// The node.
        node: NodeId,
        /// Its address.
        address: Ipv4Addr,
    },
}

/// Nodes that changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeChanges {
    /// The last change that the answer holds. Numbers count changes of this process only.
    pub upto: u64,
    /// The changed nodes as they are now, each once.
    pub nodes: Vec<Arc<NodeLoad>>,
}

/// Nodes.
#[async_trait]
pub trait NodeDb: Send + Sync {
    /// Stores a join token.
    async fn create_join_token(&self, token: &JoinToken) -> Result<(), DbError>;

    /// Who made a join token: project and user.
    async fn join_token_maker(
        &self,
        secret_sha256: &[u8; 32],
    ) -> Result<Option<(ProjectId, UserId)>, DbError>;

    /// Takes a host in. Repeated by the same machine with the same token it gives the same answer.
    async fn enrol_node(
        &self,
        secret_sha256: &[u8; 32],
        node: &NewNode,
        now: Timestamp,
    ) -> Result<EnrolOutcome, DbError>;

    /// Binds the node to a certificate. The one before stays valid until the new one is first used
    /// ([`NodeDb::promote_certificate`]), so that a lost reply locks nobody out.
    async fn put_certificate(&self, node: NodeId, sha256: &[u8; 32]) -> Result<(), DbError>;

    /// What a certificate is to the node.
    async fn certificate(&self, node: NodeId, sha256: &[u8; 32]) -> Result<Certificate, DbError>;

    /// Makes a pending certificate the only one; returns whether it is that now.
    async fn promote_certificate(&self, node: NodeId, sha256: &[u8; 32]) -> Result<bool, DbError>;

    /// All nodes with what is taken on them, by id.
    async fn nodes(&self) -> Result<Vec<NodeLoad>, DbError>;

    /// The nodes that changed after `since`, or whose load did; all since 0. Sees every acknowledged
    /// write, and no other. For a scheduler that keeps ten thousand of them and asks before each launch:
    /// the answer costs what changed.
    async fn node_changes(&self, since: u64) -> Result<NodeChanges, DbError>;

    /// Writes what a node reports of itself, when it differs from what is there.
    async fn update_node(
        &self,
        node: NodeId,
        capacity: NodeCapacity,
        agent_version: &str,
        impaired: Option<&str>,
    ) -> Result<(), DbError>;

    /// Changes a node's state; `false` when it has that state already, is expunged or unknown.
    async fn set_node_state(&self, node: NodeId, state: NodeState, now: Timestamp) -> Result<bool, DbError>;

    /// Lets new placements onto the node or keeps them off; `false` when there is no such node, or it was given up.
    async fn set_schedulable(&self, node: NodeId, schedulable: bool) -> Result<bool, DbError>;
}
