//! Nodes.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{NodeId, Timestamp};

/// Whether a node takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It polls.
    Up,
    /// It missed its polls. Its guests may well run.
    Unreachable,
    /// Given up by an operator.
    Expunged,
}

/// An amount of what instances need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Disk in GiB.
    pub disk_gib: u64,
}

/// A hypervisor host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// The id.
    pub id: NodeId,
    /// The host name; not unique.
    pub name: String,
    /// Whether it takes part.
    pub state: NodeState,
    /// When the state last changed.
    pub state_since: Timestamp,
    /// New instances may go there.
    pub schedulable: bool,
    /// Why it cannot start guests now, by its own word.
    pub impaired: Option<String>,
    /// Where other nodes reach it.
    pub underlay_address: Ipv4Addr,
    /// What it offers, before overcommit.
    pub capacity: Resources,
    /// What is taken.
    pub used: Resources,
    /// Version of its agent.
    pub agent_version: String,
    /// When it enrolled.
    pub created_at: Timestamp,
}

/// Gives a node up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpungeNodeRequest {
    /// The node's id once more: the caller vouches that nothing of it runs.
    pub confirm: String,
}

/// A node that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExpungedNode {
    /// The node.
    pub node: Node,
    /// How many instances were given up with it.
    pub instances: u32,
}

/// Lets one host enrol once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JoinToken {
    /// For `tepui-node join`: a secret, a dot, and the SHA-256 of the CA's certificate, by which
    /// the host knows the cloud.
    pub token: String,
    /// When it ends.
    pub expires_at: Timestamp,
}
