//! Renewing the certificate.

use std::path::Path;

use jiff::SignedDuration;
use tepui_types::Timestamp;
use tepui_types::agent::RenewRequest;

use super::{Identity, IdentityError, signing_request};
use crate::link::ControlPlane;

/// When a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From when.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

impl Validity {
    /// Two thirds of its life are over; the last third is for a control plane that is away. Before it holds
    /// the clock is wrong, and nothing is known of its age.
    pub fn is_due(self, now: Timestamp) -> bool {
        let life: SignedDuration = self.not_before.duration_until(self.not_after);
        let age = self.not_before.duration_until(now);
        age.is_negative() || age.as_secs() >= life.as_secs() / 3 * 2
    }

    /// It does not hold any more: no connection can be opened to renew it.
    pub fn is_over(self, now: Timestamp) -> bool {
        now >= self.not_after
    }
}

/// Gets a certificate for a new key, writes both into `dir` and uses them from now on.
pub async fn renew(
    dir: &Path,
    identity: &Identity,
    control_plane: &ControlPlane,
) -> Result<Identity, IdentityError> {
    let (key, csr_pem) = signing_request(&identity.node_id.to_string())?;
    let reply = control_plane.renew(&RenewRequest { csr_pem }).await.map_err(IdentityError::Link)?;
    let renewed =
        Identity { certificate_pem: reply.certificate_pem, key_pem: key.serialize_pem(), ..identity.clone() };
    renewed.store(dir)?;
    control_plane.renewed(&renewed).map_err(IdentityError::Link)?;
    Ok(renewed)
}
