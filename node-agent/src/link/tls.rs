//! Whom the agent trusts: the control plane's own CA and nobody else. At enrolment that CA is not known
//! yet; the join token holds its hash.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tepui_types::Digest;
use x509_parser::prelude::{FromDer, X509Certificate};

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
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OwnCa(usual(roots, provider())?)))
        .with_client_auth_cert(chain, key)
}

fn usual(roots: RootCertStore, provider: Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map_err(|error| Error::General(error.to_string()))
}

/// The time by which a certificate is judged. What the CA has signed is no certificate of the future: where its time
/// has not begun, this host's clock is behind, and its guests must not wait until somebody sets it. A certificate
/// that claims a time for itself gains nothing, as its signature is verified all the same.
fn judged_at(now: UnixTime, certificate: &CertificateDer<'_>) -> UnixTime {
    let parsed = X509Certificate::from_der(certificate).ok();
    let begin = parsed.and_then(|(_, own)| u64::try_from(own.validity().not_before.timestamp()).ok());
    begin.map_or(now, |begin| now.max(UnixTime::since_unix_epoch(Duration::from_secs(begin))))
}

/// Trusts the CA of the identity. The verification is the usual one, at the time of [`judged_at`].
#[derive(Debug)]
struct OwnCa(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for OwnCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let at = judged_at(now, end_entity);
        self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, at)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Trusts the one CA whose DER form has a known hash. The server sends that CA in its chain; the rest
/// of the verification (signatures, names, times) is that of an identity's CA.
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
        let own = OwnCa(usual(roots, Arc::clone(&self.provider))?);
        let verified = own.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
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

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::testing::control_plane::{Issuer, authority};

    /// A certificate for `host`, good from `begin` on for a day.
    fn leaf(authority: &Issuer, begin: UnixTime) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["host".to_owned()]).unwrap();
        params.not_before = std::time::SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_secs(begin.as_secs()))
            .unwrap()
            .into();
        params.not_after = params.not_before + Duration::from_hours(24);
        params.signed_by(&KeyPair::generate().unwrap(), authority).unwrap().der().clone()
    }

    #[test]
    fn a_certificate_of_the_future_is_taken_and_an_expired_or_a_strangers_is_not() {
        let (own, stranger) = (authority(), authority());
        let mut roots = RootCertStore::empty();
        roots.add(own.der().clone()).unwrap();
        let verifier = OwnCa(usual(roots, provider()).unwrap());
        let days = |days: u64| UnixTime::since_unix_epoch(Duration::from_hours(24 * days));
        let verify = |leaf: &CertificateDer<'_>, now| {
            verifier.verify_server_cert(leaf, &[], &"host".try_into().unwrap(), &[], now).is_ok()
        };
        let begin = days(20_000);
        let leaf_of_own = leaf(&own, begin);
        assert!(verify(&leaf_of_own, begin) && verify(&leaf_of_own, days(19_990)));
        assert!(!verify(&leaf_of_own, days(20_002)), "it is over");
        let leaf_of_stranger = leaf(&stranger, begin);
        assert!(!verify(&leaf_of_stranger, begin) && !verify(&leaf_of_stranger, days(19_990)));
    }
}
