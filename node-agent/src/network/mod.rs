//! The guests' network on this host: one router namespace for each VPC, one tap for each guest.

mod adopt;
mod announce;
mod conntrack;
mod dhcp;
mod dnsmasq;
mod drift;
mod entries;
mod error;
mod filter;
mod generation;
mod host;
mod host_filter;
mod kept;
mod names;
mod namespace;
mod netlink;
mod nft;
mod overlay;
mod places;
mod plan;
mod ports;
mod public_addresses;
mod resolver;
mod router;
mod router_filter;
mod simulated;
mod sysctl;
mod table;
mod tap;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;

use async_trait::async_trait;
use tepui_types::agent::VpcPart;
use tepui_types::{NodeId, PlacementId, VpcId};

pub use host::{HostNetwork, HostNetworkConfig};
pub use simulated::SimulatedNetwork;

/// What a guest may send in one packet, in bytes: an underlay of 1500 less VXLAN's 50 (RFC 7348).
pub const GUEST_MTU: u32 = 1450;

/// What the host's network must be.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedNetwork {
    /// This node, to tell its own ports from those of others.
    pub node_id: NodeId,
    /// The VPCs to carry. One that is not here is removed once no local placement uses it.
    pub vpcs: Vec<VpcPart>,
    /// The placements that need a tap now. A port of any other placement is removed.
    pub local: Vec<PlacementId>,
}

/// Why the network is not as wanted.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel or a tool refused a change.
    #[error("could not {what}")]
    Refused {
        /// What was tried, with the name of the object, as a verb phrase.
        what: String,
        /// The kernel's answer.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file of the network (configuration of the DHCP server, lease) could not be written or read.
    #[error("could not write or read {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Some VPCs are not as wanted; all else is.
    #[error("could not build {}", list(.broken))]
    Vpcs {
        /// Which, and why.
        broken: BTreeMap<VpcId, NetworkError>,
    },
    /// A VPC that was not applied was asked for.
    #[error("{0} is not on this host")]
    UnknownVpc(VpcId),
}

fn list(broken: &BTreeMap<VpcId, NetworkError>) -> String {
    let lines = broken.iter().map(|(vpc, error)| format!("the VPC {vpc}: {}", crate::chain(error)));
    lines.collect::<Vec<_>>().join("; ")
}

/// Builds the network. Every verb may be repeated: what is already so is a success.
#[async_trait]
pub trait Network: Send + Sync {
    /// Makes namespaces, bridges, taps, filters, DHCP and NAT as wanted, and removes the rest of what
    /// Tepui made. What is wrong with one VPC leaves the others alone: then the error is
    /// [`NetworkError::Vpcs`]. A guest that is in `local` and that no part names keeps its port as it was.
    async fn apply(&self, wanted: &WantedNetwork) -> Result<(), NetworkError>;
    /// Name of the placement's tap in the host's namespace, once it was applied.
    fn tap_name(&self, placement: PlacementId) -> Option<String>;
    /// A listener on 169.254.169.254, port 80, inside the VPC's namespace. The source address of a
    /// connection is the guest's own: the tap's filter lets no other pass.
    async fn metadata_listener(&self, vpc: VpcId) -> Result<TcpListener, NetworkError>;
    /// Tells the VPC's namespace from every other that is or was there while a listener of it is open. A
    /// network whose namespaces never change need not say more than this.
    async fn namespace(&self, _vpc: VpcId) -> Result<u64, NetworkError> {
        Ok(0)
    }
    /// What is not as wanted, one line each, without a change of anything; for the doctor.
    async fn faults(&self, _wanted: &WantedNetwork) -> Result<Vec<String>, NetworkError> {
        Ok(Vec::new())
    }
    /// Names of all taps of Tepui on this host, for the doctor.
    async fn taps(&self) -> Result<Vec<String>, NetworkError>;
}
