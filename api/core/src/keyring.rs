//! Wraps secrets at rest with the control plane's key file.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};

const KEY_ID_LEN: usize = 4;
const NONCE_LEN: usize = 24;

/// Why a wrapped secret could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// The blob is shorter than its own header.
    #[error("a wrapped secret is cut short")]
    Short,
    /// The blob was wrapped with another key file.
    #[error("the secret was wrapped with the key {found}, the key file holds {have}")]
    OtherKey {
        /// The key's id in the blob, hexadecimal.
        found: String,
        /// The id of the key in the key file, hexadecimal.
        have: String,
    },
    /// The blob was changed, or belongs to another object.
    #[error("a wrapped secret fails its authentication")]
    Forged,
}

/// Wraps and unwraps secrets with XChaCha20-Poly1305. A blob is the key's id (4 bytes), a nonce (24
/// bytes) and the sealed secret, which is bound to the name of the object it belongs to.
pub struct Keyring {
    key_id: [u8; KEY_ID_LEN],
    cipher: XChaCha20Poly1305,
}

impl Keyring {
    /// A keyring with the key file's 32 bytes.
    pub fn new(key: &[u8; 32]) -> Self {
        let digest = Sha256::new().chain_update(b"tepui key id").chain_update(key).finalize();
        let mut key_id = [0; KEY_ID_LEN];
        key_id.copy_from_slice(&digest[..KEY_ID_LEN]);
        Self { key_id, cipher: XChaCha20Poly1305::new(Key::from_slice(key)) }
    }

    /// Seals `secret` for the object `name`. `nonce` must be fresh random bytes.
    ///
    /// # Errors
    /// `Forged` never happens for secrets below 256 GiB; the cipher's type says it could.
    pub fn wrap(&self, name: &str, secret: &[u8], nonce: [u8; NONCE_LEN]) -> Result<Vec<u8>, KeyringError> {
        let payload = Payload { msg: secret, aad: name.as_bytes() };
        let sealed =
            self.cipher.encrypt(XNonce::from_slice(&nonce), payload).map_err(|_| KeyringError::Forged)?;
        Ok([self.key_id.as_slice(), &nonce, &sealed].concat())
    }

    /// Opens what [`Keyring::wrap`] sealed for the same `name`.
    ///
    /// # Errors
    /// Says whether the blob is cut short, of another key, or forged.
    pub fn unwrap(&self, name: &str, blob: &[u8]) -> Result<Vec<u8>, KeyringError> {
        let (key_id, rest) = blob.split_at_checked(KEY_ID_LEN).ok_or(KeyringError::Short)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or(KeyringError::Short)?;
        if key_id != self.key_id {
            let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
            return Err(KeyringError::OtherKey { found: hex(key_id), have: hex(&self.key_id) });
        }
        let payload = Payload { msg: sealed, aad: name.as_bytes() };
        self.cipher.decrypt(XNonce::from_slice(nonce), payload).map_err(|_| KeyringError::Forged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_back_only_for_its_name_its_key_and_unchanged() {
        let ring = Keyring::new(&[7; 32]);
        let blob = ring.wrap("TPAK1", b"secret", [9; 24]).unwrap();
        assert_eq!(ring.unwrap("TPAK1", &blob), Ok(b"secret".to_vec()));
        assert_eq!(ring.unwrap("TPAK2", &blob), Err(KeyringError::Forged));
        assert!(matches!(Keyring::new(&[8; 32]).unwrap("TPAK1", &blob), Err(KeyringError::OtherKey { .. })));
        assert_eq!(ring.unwrap("TPAK1", &blob[..27]), Err(KeyringError::Short));
        for at in 4..blob.len() {
            let mut changed = blob.clone();
            changed[at] ^= 1;
            assert_eq!(ring.unwrap("TPAK1", &changed), Err(KeyringError::Forged), "byte {at}");
        }
    }
}
