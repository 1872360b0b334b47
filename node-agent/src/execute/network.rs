//! Applies the wanted network once for all who wait for it: twenty starts that come together need one
//! change of the network, not twenty.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tepui_types::PlacementId;

use crate::metadata::MetadataService;
use crate::network::{Network, NetworkError, WantedNetwork};

/// Holds what is wanted and what was applied last.
pub struct NetworkKeeper {
    network: Arc<dyn Network>,
    metadata: Option<Arc<MetadataService>>,
    wanted: Mutex<Option<Arc<WantedNetwork>>>,
    applied: tokio::sync::Mutex<Option<Arc<WantedNetwork>>>,
}

impl NetworkKeeper {
    /// Keeps `network`, and the listeners of `metadata` in it.
    pub fn new(network: Arc<dyn Network>, metadata: Option<Arc<MetadataService>>) -> Self {
        Self { network, metadata, wanted: Mutex::default(), applied: tokio::sync::Mutex::default() }
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
        if applied.as_ref().is_some_and(|applied| Arc::ptr_eq(applied, &wanted)) {
            return Ok(());
        }
        *applied = None;
        self.network.apply(&wanted).await.map_err(Arc::new)?;
        self.listen(&wanted).await.map_err(Arc::new)?;
        *applied = Some(wanted);
        Ok(())
    }

    /// Makes the next [`Self::ensure`] apply again: somebody else may have changed the host's network.
    pub async fn doubt(&self) {
        *self.applied.lock().await = None;
    }

    async fn listen(&self, wanted: &WantedNetwork) -> Result<(), NetworkError> {
        let Some(metadata) = &self.metadata else { return Ok(()) };
        let carried: BTreeSet<_> = wanted.vpcs.iter().map(|vpc| vpc.id).collect();
        metadata.keep(|vpc| carried.contains(&vpc));
        for vpc in carried {
            if !metadata.serves(vpc) {
                let listener = self.network.metadata_listener(vpc).await?;
                metadata.serve(vpc, listener).map_err(|source| NetworkError::Refused {
                    what: format!("serve the metadata of {vpc}"),
                    source: Box::new(source),
                })?;
            }
        }
        Ok(())
    }

    /// The tap of a placement, once it was applied.
    pub fn tap_name(&self, placement: PlacementId) -> Option<String> {
        self.network.tap_name(placement)
    }
}
