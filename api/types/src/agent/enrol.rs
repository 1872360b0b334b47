//! How a host becomes a node, and stays one.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::NodeId;

/// What a host offers to instances, before any overcommit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeCapacity {
    /// Hardware threads.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Size of the file system that holds the disks, in GiB.
    pub disk_gib: u64,
}

/// A join token for a certificate. The token is bound to `machine_uuid` by its first use, so that
/// a request whose reply was lost can be repeated by the same host and by no other.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// The secret part of the token.
    pub token: String,
    /// From the node's own UUID file; a host name would change under us.
    pub machine_uuid: Uuid,
    /// The host name, for people.
    pub name: String,
    /// Certificate signing request, PEM.
    pub csr_pem: String,
    /// Where other hosts reach this one.
    pub underlay_address: Ipv4Addr,
    /// What the host offers.
    pub capacity: NodeCapacity,
}

/// The node's identity.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolReply {
    /// The id that the certificate carries as its common name.
    pub node_id: NodeId,
    /// The certificate, PEM.
    pub certificate_pem: String,
}

/// Asks for a certificate for a new key, over a connection that the old one opened.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// Certificate signing request, PEM.
    pub csr_pem: String,
}

/// The new certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewReply {
    /// The certificate, PEM.
    pub certificate_pem: String,
}
