//! Applies the wanted network once for all who wait for it: twenty starts that come together need one
//! change of the network, not twenty.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tepui_types::{PlacementId, VpcId};

use crate::metadata::MetadataService;
use crate::network::{Network, NetworkError, WantedNetwork};

type Applied = (Arc<WantedNetwork>, Result<(), Arc<NetworkError>>);

/// Holds what is wanted and what was applied last.
pub struct NetworkKeeper {
    network: Arc<dyn Network>,
    metadata: Option<Arc<MetadataService>>,
    wanted: Mutex<Option<Arc<WantedNetwork>>>,
    /// What was applied last, and what came of it; an error here is one of single VPCs.
    applied: tokio::sync::Mutex<Option<Applied>>,
    /// The namespaces that the metadata service listens in.
    namespaces: Mutex<BTreeMap<VpcId, u64>>,
}

impl NetworkKeeper {
    /// Keeps `network`, and the listeners of `metadata` in it.
    pub fn new(network: Arc<dyn Network>, metadata: Option<Arc<MetadataService>>) -> Self {
        Self {
            network,
            metadata,
            wanted: Mutex::default(),
            applied: tokio::sync::Mutex::default(),
            namespaces: Mutex::default(),
        }
    }

    /// Says what is wanted from now on; whether that is news.
    pub fn want(&self, wanted: WantedNetwork) -> bool {
        let mut held = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_deref() == Some(&wanted) {
            return false;
        }
        *held = Some(Arc::new(wanted));
        true
    }

    /// Returns when the network is as it was wanted at the time of the call, or newer.
    pub async fn ensure(&self) -> Result<(), Arc<NetworkError>> {
        let mut applied = self.applied.lock().await;
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(wanted) = wanted else { return Ok(()) };
        if let Some((before, result)) = applied.as_ref()
            && Arc::ptr_eq(before, &wanted)
        {
            return result.clone();
        }
        *applied = None;
        let mut broken = match self.network.apply(&wanted).await {
            Ok(()) => BTreeMap::new(),
            Err(NetworkError::Vpcs { broken }) => broken,
            Err(error) => return Err(Arc::new(error)),
        };
        self.listen(&wanted, &mut broken).await;
        let result = if broken.is_empty() { Ok(()) } else { Err(Arc::new(NetworkError::Vpcs { broken })) };
        *applied = Some((wanted, result.clone()));
        result
    }

    /// As [`Self::ensure`], for those who need these VPCs alone: what is wrong with others is no error.
    pub async fn ensure_for(&self, vpcs: &[VpcId]) -> Result<(), Arc<NetworkError>> {
        match self.ensure().await {
            Err(error) => match error.as_ref() {
                NetworkError::Vpcs { broken } if !vpcs.iter().any(|vpc| broken.contains_key(vpc)) => Ok(()),
                _ => Err(error),
            },
            Ok(()) => Ok(()),
        }
    }

    /// Makes the next [`Self::ensure`] apply again: somebody else may have changed the host's network.
    pub async fn doubt(&self) {
        *self.applied.lock().await = None;
    }

    async fn listen(&self, wanted: &WantedNetwork, broken: &mut BTreeMap<VpcId, NetworkError>) {
        let Some(metadata) = &self.metadata else { return };
        let carried: BTreeSet<_> = wanted.vpcs.iter().map(|vpc| vpc.id).collect();
        metadata.keep(|vpc| carried.contains(&vpc));
        for vpc in carried {
            if !broken.contains_key(&vpc)
                && let Err(error) = self.listen_in(metadata, vpc).await
            {
                broken.insert(vpc, error);
            }
        }
    }

    /// A namespace that was made anew needs a new listener: the old one is in the old namespace.
    async fn listen_in(&self, metadata: &MetadataService, vpc: VpcId) -> Result<(), NetworkError> {
        let namespace = self.network.namespace(vpc).await?;
        let namespaces = || self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        if metadata.serves(vpc) && namespaces().get(&vpc) == Some(&namespace) {
            return Ok(());
        }
        let listener = self.network.metadata_listener(vpc).await?;
        metadata.serve(vpc, listener).map_err(|source| NetworkError::Refused {
            what: format!("serve the metadata of {vpc}"),
            source: Box::new(source),
        })?;
        namespaces().insert(vpc, namespace);
        Ok(())
    }

    /// The tap of a placement, once it was applied.
    pub fn tap_name(&self, placement: PlacementId) -> Option<String> {
        self.network.tap_name(placement)
    }
}
