//! Whom the agent trusts: the control plane's own CA and nobody else. At enrolment that CA is not known
//! yet; the join token holds its hash.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tepui_types::Digest;

use crate::identity::Identity;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Trusts the identity's CA and shows the identity's certificate.
pub fn client_config(identity: &Identity) -> Result<ClientConfig, Error> {
    let pem = |error| Error::General(format!("the identity is not PEM: {error}"));
    let ca = CertificateDer::from_pem_slice(identity.ca_pem.as_bytes()).map_err(pem)?;
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).map_err(pem)?];
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(pem)?;
    let mut roots = RootCertStore::empty();
    roots.add(ca)?;
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
}

/// Trusts the one CA whose DER form has a known hash. The server sends that CA in its chain; the rest
/// of the verification (signatures, names, times) is the usual one.
#[derive(Debug)]
pub struct PinnedCa {
    pin: Digest,
    provider: Arc<CryptoProvider>,
    found: OnceLock<CertificateDer<'static>>,
}

impl PinnedCa {
    /// Trusts the CA with this SHA-256.
    pub fn new(pin: Digest) -> Arc<Self> {
        Arc::new(Self { pin, provider: provider(), found: OnceLock::new() })
    }

    /// The CA, after a handshake.
    pub fn found(&self) -> Option<&CertificateDer<'static>> {
        self.found.get()
    }

    /// A client without a certificate of its own, for enrolment only.
    pub fn config(self: &Arc<Self>) -> Result<ClientConfig, Error> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?;
        let verifier = Arc::<Self>::clone(self);
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = intermediates.iter().find(|sent| Digest::of(sent) == self.pin);
        let ca =
            pinned.ok_or_else(|| Error::General("the server's CA is not the join token's".to_owned()))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        let verified =
            usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        self.found.get_or_init(|| ca.clone().into_owned());
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
