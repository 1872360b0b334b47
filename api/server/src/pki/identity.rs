//! The key that signs instance identity documents.

use std::time::Duration;

use data_encoding::BASE64;
use jiff::Timestamp;
use rcgen::{KeyPair, KeyUsagePurpose, PKCS_ED25519, SigningKey};
use tepui_core::{Entropy, IdentitySigner};

use super::PkiError;
use super::authority::{open_or_create_key, params};
use crate::files::{self, PUBLIC};
use crate::layout::Layout;

/// Documents may be checked long after they were signed; AWS's own certificates live as long.
const LIFE: Duration = Duration::from_secs(10 * 365 * 86400);

/// Signs instance identity documents with Ed25519 (RFC 8032): the same document has the same
/// signature, as [`IdentitySigner`] wants it.
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
        let key = open_or_create_key(&layout.identity_key(), &PKCS_ED25519)?;
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
    #[expect(clippy::expect_used, reason = "the key was made for this algorithm")]
    fn sign(&self, document: &str) -> String {
        BASE64.encode(&self.key.sign(document.as_bytes()).expect("an Ed25519 key signs any bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::SystemEntropy;

    fn key(layout: &Layout) -> IdentityKey {
        IdentityKey::open_or_create(layout, "test-1", Timestamp::UNIX_EPOCH, &SystemEntropy).unwrap()
    }

    #[test]
    fn the_same_document_has_the_same_signature_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        files::private_folder(&layout.pki()).unwrap();
        files::passable_folder(&dir.path().join("pki")).unwrap();
        let first = key(&layout);
        let signature = first.sign("document");
        assert_eq!(first.sign("document"), signature);
        let anew = key(&layout);
        assert_eq!((anew.sign("document"), anew.pem()), (signature, first.pem()));
        assert_ne!(anew.sign("another"), anew.sign("document"));
    }
}
