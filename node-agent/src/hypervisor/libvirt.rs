//! The real thing, over `tepui_libvirt`.

use async_trait::async_trait;
use tepui_libvirt::{DomainSpec, DomainStatus, Error, LibvirtHost};
use tepui_types::PlacementId;

use super::{Hypervisor, HypervisorError};

/// Guests under one libvirtd.
#[derive(Debug)]
pub struct LibvirtHypervisor(LibvirtHost);

impl LibvirtHypervisor {
    /// Uses this libvirtd.
    pub fn new(host: LibvirtHost) -> Self {
        Self(host)
    }
}

fn domain(verb: &'static str, placement: PlacementId) -> impl FnOnce(Error) -> HypervisorError {
    move |source| HypervisorError::Domain { verb, placement, source }
}

#[async_trait]
impl Hypervisor for LibvirtHypervisor {
    async fn domains(&self) -> Result<Vec<DomainStatus>, HypervisorError> {
        self.0.domains().await.map_err(HypervisorError::List)
    }

    async fn start(&self, spec: &DomainSpec) -> Result<(), HypervisorError> {
        self.0.start(spec).await.map_err(domain("start", spec.placement_id))
    }

    async fn request_shutdown(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.0.request_shutdown(id).await.map_err(domain("shut down", id))
    }

    async fn force_off(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.0.force_off(id).await.map_err(domain("power off", id))
    }

    async fn reset(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.0.reset(id).await.map_err(domain("reset", id))
    }

    async fn forget(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.0.forget(id).await.map_err(domain("remove", id))
    }
}
