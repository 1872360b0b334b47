//! Hypervisor hosts.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use tepui_types::agent::NodeCapacity;
use tepui_types::{NodeId, ProjectId, UserId};
use uuid::Uuid;

use super::NodeState;

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The id.
    pub id: NodeId,
    /// Identity of the machine, from its UUID file.
    pub machine_uuid: Uuid,
    /// The host name, for people; not unique.
    pub name: String,
    /// Whether it takes part.
    pub state: NodeState,
    /// New placements may go there; `false` while it is drained.
    pub schedulable: bool,
    /// Where other nodes reach it.
    pub underlay_address: Ipv4Addr,
    /// What it offers, before overcommit.
    pub capacity: NodeCapacity,
    /// Why it cannot start guests now, by its own word.
    pub impaired: Option<String>,
    /// As last reported.
    pub agent_version: String,
    /// Digest of the certificate that may act for it; zeros before the first is used.
    pub certificate_sha256: [u8; 32],
    /// When the state last changed.
    pub state_since: Timestamp,
    /// When it enrolled.
    pub created_at: Timestamp,
}

/// A node with what is taken on it, for the scheduler.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeLoad {
    /// The node.
    pub node: Node,
    /// Sum over placements whose instance is neither stopped nor terminated; one that is terminated
    /// while stopped takes nothing.
    pub used_vcpus: u32,
    /// Sum over the same placements, in MiB.
    pub used_memory_mib: u64,
    /// Sum of the virtual sizes of the root disks of all placements that are not gone, in GiB.
    pub used_disk_gib: u64,
}

/// Lets one host enrol once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// SHA-256 of the secret part; the secret itself is not stored.
    pub secret_sha256: [u8; 32],
    /// When it ends.
    pub expires_at: Timestamp,
    /// Who made it, which whoever uses it acts for: in this project,
    pub project_id: ProjectId,
    /// this user.
    pub user_id: UserId,
}
