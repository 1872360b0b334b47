//! TLS of the agents' listener.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tepui_core::{Clock, Entropy};

use super::authority::params;
use super::{Authority, PkiError};

/// Never written to disk: each start and two thirds of this time bring a new one. Agents trust the
/// authority, not this certificate.
const LIFE: Duration = Duration::from_secs(90 * 86400);

/// TLS for the agents' listener: our certificate for `names`, and clients either without a
/// certificate (they may only enrol) or with one of our authority.
pub(crate) fn agents_tls(
    authority: Arc<Authority>,
    names: &[String],
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<ServerConfig, PkiError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone())?;
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let resolver = SelfRenewing::new(authority, names, clock, entropy, &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // An agent keeps its connection for as long as this process lives, and what could resume a session
    // in the next one would have to lie on disk. Tickets would be made for nobody.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

struct SelfRenewing {
    authority: Arc<Authority>,
    names: Vec<SanType>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    provider: Arc<CryptoProvider>,
    current: Mutex<Issued>,
}

#[derive(Clone)]
struct Issued {
    key: Arc<CertifiedKey>,
    issued_at: Timestamp,
    renew_at: Timestamp,
}

impl SelfRenewing {
    fn new(
        authority: Arc<Authority>,
        names: &[String],
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, PkiError> {
        let names = names.iter().map(|name| alternative_name(name)).collect::<Result<Vec<_>, _>>()?;
        let first = issue(&authority, &names, clock.now(), entropy.as_ref(), provider)?;
        let provider = Arc::clone(provider);
        Ok(Self { authority, names, clock, entropy, provider, current: Mutex::new(first) })
    }
}

impl std::fmt::Debug for SelfRenewing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SelfRenewing").field("names", &self.names).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for SelfRenewing {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        // Issued in the future: by a clock that was wrong. By a right one it is no certificate yet.
        if now >= current.renew_at || now < current.issued_at {
            match issue(&self.authority, &self.names, now, self.entropy.as_ref(), &self.provider) {
                Ok(next) => *current = next,
                // The old one is good for another third of its life, and the next client tries again.
                Err(error) => tracing::error!(%error, "cannot renew the certificate of the agents' listener"),
            }
        }
        Some(Arc::clone(&current.key))
    }
}

fn issue(
    authority: &Authority,
    names: &[SanType],
    now: Timestamp,
    entropy: &dyn Entropy,
    provider: &CryptoProvider,
) -> Result<Issued, PkiError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = params("tepui-api", now, LIFE, entropy);
    params.subject_alt_names = names.to_vec();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = authority.sign(&params, &key)?;
    // The authority goes along: a joining host knows only its fingerprint.
    let chain = vec![certificate.der().clone(), authority.certificate().clone()];
    let private = PrivateKeyDer::try_from(key.serialize_der())
        .map_err(|reason| rustls::Error::General(reason.to_owned()))?;
    let key = Arc::new(CertifiedKey::from_der(chain, private, provider)?);
    Ok(Issued { key, issued_at: now, renew_at: now + LIFE * 2 / 3 })
}

fn alternative_name(name: &str) -> Result<SanType, PkiError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let dns = name.try_into().map_err(|_| PkiError::BadName { name: name.to_owned() })?;
    Ok(SanType::DnsName(dns))
}
