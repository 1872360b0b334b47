//! Certificates of nodes.

use std::time::Duration;

use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use sha2::{Digest as _, Sha256};
use tepui_core::{Clock, Entropy};
use tepui_types::NodeId;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authority::params;
use super::{Authority, PkiError};

/// A day: long enough for a control plane that is away over night, short enough that a stolen
/// certificate is soon worthless. Agents renew at two thirds of it.
const LIFE: Duration = Duration::from_secs(86400);

/// A certificate that lets its holder act for a node.
pub(crate) struct NodeCertificate {
    /// For the node.
    pub(crate) pem: String,
    /// SHA-256 of its DER, for the store.
    pub(crate) sha256: [u8; 32],
}

/// What a client's certificate says. That it comes from our authority and is in date was checked at
/// the handshake; whether it is still the node's is the store's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerNode {
    /// The common name.
    pub(crate) id: NodeId,
    /// SHA-256 of its DER.
    pub(crate) sha256: [u8; 32],
}

impl Authority {
    /// Certifies the key of a signing request for a node. Whatever else the request asks for is
    /// ignored. Where somebody has set the clock it is good by both times: whichever was wrong, the
    /// node is not locked out when it is put right.
    pub(crate) fn certify_node(
        &self,
        request_pem: &str,
        node: NodeId,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<NodeCertificate, PkiError> {
        let (now, steady) = (clock.now(), clock.steady());
        let life = LIFE + now.duration_since(steady).unsigned_abs();
        let mut params = params(&node.to_string(), now.min(steady), life, entropy);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = self.sign_request(request_pem, params)?;
        Ok(NodeCertificate { sha256: Sha256::digest(certificate.der()).into(), pem: certificate.pem() })
    }
}

/// Whether a signing request can be certified: it is one, and signed by the key it names.
pub(crate) fn check_request(pem: &str) -> Result<(), PkiError> {
    CertificateSigningRequestParams::from_pem(pem).map(drop).map_err(PkiError::BadRequest)
}

impl PeerNode {
    /// Reads a verified client certificate; `None` when it names no node.
    pub(crate) fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
        Some(Self { id: name.parse().ok()?, sha256: Sha256::digest(der).into() })
    }
}
