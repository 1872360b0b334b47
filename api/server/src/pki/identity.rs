//! The key that signs instance identity documents.

use std::time::Duration;

use data_encoding::BASE64;
use jiff::Timestamp;
use rcgen::{KeyPair, KeyUsagePurpose, SigningKey};
use tepui_core::{Entropy, IdentitySigner};

use super::PkiError;
use super::authority::{open_or_create_key, params};
use crate::files::{self, PUBLIC};
use crate::layout::Layout;

/// Documents may be checked long after they were signed; AWS's own certificates live as long.
const LIFE: Duration = Duration::from_secs(10 * 365 * 86400);

/// Signs instance identity documents with ECDSA P-256 and SHA-256.
pub struct IdentityKey {
    key: KeyPair,
    pem: String,
}

impl IdentityKey {
    /// Opens the key and its self-signed certificate, and makes them where they are missing.
    ///
    /// # Errors
    /// A file cannot be read or written, or the key is damaged.
    pub fn open_or_create(
        layout: &Layout,
        region: &str,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Self, PkiError> {
        let key = open_or_create_key(&layout.identity_key())?;
        let path = layout.identity_certificate();
        if let Some(pem) = files::read(&path)? {
            return Ok(Self { key, pem });
        }
        let mut params = params(&format!("Tepui {region} instance identity"), now, LIFE, entropy);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let pem = params.self_signed(&key)?.pem();
        files::write(&path, pem.as_bytes(), PUBLIC)?;
        Ok(Self { key, pem })
    }

    /// The certificate that holds the public key, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }
}

impl IdentitySigner for IdentityKey {
    #[expect(clippy::expect_used, reason = "the key was made for this algorithm, and ring has random bytes")]
    fn sign(&self, document: &str) -> String {
        BASE64.encode(&self.key.sign(document.as_bytes()).expect("a P-256 key signs any bytes"))
    }
}
