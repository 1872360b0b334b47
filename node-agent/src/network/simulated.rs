//! A network that remembers what it was told and makes nothing: for simulated nodes and tests.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tepui_types::{PlacementId, VpcId};

use super::{Network, NetworkError, WantedNetwork};

/// Holds the wanted ports and VPCs.
#[derive(Debug, Default)]
pub struct SimulatedNetwork {
    ports: Mutex<BTreeSet<PlacementId>>,
    vpcs: Mutex<BTreeSet<VpcId>>,
}

impl SimulatedNetwork {
    /// A network without ports.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Network for SimulatedNetwork {
    async fn apply(&self, wanted: &WantedNetwork) -> Result<(), NetworkError> {
        *self.ports.lock().unwrap_or_else(PoisonError::into_inner) = wanted.local.iter().copied().collect();
        *self.vpcs.lock().unwrap_or_else(PoisonError::into_inner) =
            wanted.vpcs.iter().map(|vpc| vpc.id).collect();
        Ok(())
    }

    fn tap_name(&self, placement: PlacementId) -> Option<String> {
        let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports.contains(&placement).then(|| format!("sim-{placement}"))
    }

    async fn metadata_listener(&self, vpc: VpcId) -> Result<TcpListener, NetworkError> {
        if !self.vpcs.lock().unwrap_or_else(PoisonError::into_inner).contains(&vpc) {
            return Err(NetworkError::UnknownVpc(vpc));
        }
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|source| NetworkError::Refused {
            what: format!("listen for the metadata service of {vpc}"),
            source: Box::new(source),
        })
    }

    async fn taps(&self) -> Result<Vec<String>, NetworkError> {
        let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(ports.iter().map(|placement| format!("sim-{placement}")).collect())
    }
}
