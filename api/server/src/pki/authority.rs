//! The cloud's certificate authority.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber, SignatureAlgorithm,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tepui_core::Entropy;
use tepui_types::Digest;

use super::PkiError;
use crate::files::{self, PUBLIC, SECRET};
use crate::layout::Layout;

/// Ten years: every host of the cloud pins it, so it must outlive them.
const CA_LIFE: Duration = Duration::from_secs(3650 * 86400);
/// Certificates begin a little in the past, for hosts whose clocks are behind.
const CLOCK_SLACK: Duration = Duration::from_secs(300);

/// Issues the certificates of nodes and of the agents' listener.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Authority {
    /// Opens the authority, and makes it where it is missing. Its key is written before its
    /// certificate: a crash in between leaves a key that the next try uses.
    ///
    /// # Errors
    /// A file cannot be read or written, is damaged, or the key of a certificate is gone.
    pub fn open_or_create(
        layout: &Layout,
        region: &str,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Self, PkiError> {
        let (key_path, certificate_path) = (layout.ca_key(), layout.ca_certificate());
        let pem = files::read(&certificate_path)?;
        if pem.is_some() && !key_path.exists() {
            return Err(PkiError::KeyMissing { certificate: certificate_path, key: key_path });
        }
        let key = open_or_create_key(&key_path, &PKCS_ECDSA_P256_SHA256)?;
        let pem = match pem {
            Some(pem) => pem,
            None => {
                let pem = ca_params(region, now, entropy).self_signed(&key)?.pem();
                files::write(&certificate_path, pem.as_bytes(), PUBLIC)?;
                pem
            }
        };
        Self::new(pem, key).map_err(|source| PkiError::Damaged { path: certificate_path, source })
    }

    fn new(pem: String, key: KeyPair) -> Result<Self, rcgen::Error> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self { issuer, certificate, pem })
    }

    /// The certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificate, DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// SHA-256 of the certificate's DER, by which a joining host knows the cloud.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.certificate)
    }

    /// Signs a certificate for a key of our own.
    pub(super) fn sign(
        &self,
        params: &CertificateParams,
        key: &KeyPair,
    ) -> Result<rcgen::Certificate, PkiError> {
        Ok(params.signed_by(key, &self.issuer)?)
    }

    /// Signs a certificate for the key of a request, with `params` in place of what it asks for.
    pub(super) fn sign_request(
        &self,
        request_pem: &str,
        params: CertificateParams,
    ) -> Result<rcgen::Certificate, PkiError> {
        let mut request =
            CertificateSigningRequestParams::from_pem(request_pem).map_err(PkiError::BadRequest)?;
        request.params = params;
        Ok(request.signed_by(&self.issuer)?)
    }
}

/// Parameters of a certificate for `name` that is good for `life` from `now` on.
pub(super) fn params(name: &str, now: Timestamp, life: Duration, entropy: &dyn Entropy) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let since_1970 = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default());
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_1970.saturating_sub(CLOCK_SLACK);
    params.not_after = epoch + since_1970 + life;
    // RFC 5280 §4.1.2.2: positive, at most 20 octets.
    let serial = entropy.random() >> 1;
    params.serial_number = Some(SerialNumber::from_slice(&serial.to_be_bytes()));
    params.use_authority_key_identifier_extension = true;
    params
}

fn ca_params(region: &str, now: Timestamp, entropy: &dyn Entropy) -> CertificateParams {
    let mut params = params(&format!("Tepui {region} CA"), now, CA_LIFE, entropy);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A private key from its file, made where it is missing.
pub(super) fn open_or_create_key(
    path: &Path,
    algorithm: &'static SignatureAlgorithm,
) -> Result<KeyPair, PkiError> {
    if let Some(pem) = files::read(path)? {
        return KeyPair::from_pem(&pem).map_err(|source| PkiError::Damaged { path: path.to_owned(), source });
    }
    let key = KeyPair::generate_for(algorithm)?;
    files::write(path, key.serialize_pem().as_bytes(), SECRET)?;
    Ok(key)
}
