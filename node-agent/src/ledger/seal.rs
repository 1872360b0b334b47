//! Encrypts what the ledger writes: user data may hold passwords, and a disk that is thrown away must
//! not give them up. The key lies in the identity directory of the same host, so this does not guard
//! against one who can read all of the host.

use std::fs;
use std::io;
use std::path::Path;

use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

use crate::durable;

const KEY_BYTES: usize = 32;
/// Of XChaCha20-Poly1305: long enough to be drawn at random each time.
const NONCE_BYTES: usize = 24;

/// The host's sealing key.
#[derive(Clone)]
pub struct Seal(XChaCha20Poly1305);

impl Seal {
    /// Reads the key file, or makes it with mode 0600. A damaged one is replaced: what it sealed is lost
    /// either way, and the ledger comes again.
    pub fn open(path: &Path) -> io::Result<Self> {
        match Self::load(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::error!(path = %path.display(), %error, "made a new sealing key; the old ledger is lost");
                Self::make(path)
            }
            loaded => loaded,
        }
    }

    /// Reads the key file.
    pub fn load(path: &Path) -> io::Result<Self> {
        let bytes = fs::read(path)?;
        if bytes.len() != KEY_BYTES {
            let rule = "the sealing key is not 32 bytes long";
            return Err(io::Error::new(io::ErrorKind::InvalidData, rule));
        }
        Ok(Self::of(&bytes))
    }

    fn make(path: &Path) -> io::Result<Self> {
        let key = XChaCha20Poly1305::generate_key(&mut OsRng);
        durable::write(path, &key, 0o600)?;
        Ok(Self::of(&key))
    }

    fn of(key: &[u8]) -> Self {
        Self(XChaCha20Poly1305::new(Key::from_slice(key)))
    }

    /// Seals `plain` under `name`: content moved to another file does not open.
    pub fn seal(&self, name: &str, plain: &[u8]) -> Option<Vec<u8>> {
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let sealed = self.0.encrypt(&nonce, Payload { msg: plain, aad: name.as_bytes() }).ok()?;
        Some([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what [`Self::seal`] made; `None` if a byte of it, or the name, is another.
    pub(super) fn open_sealed(&self, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_at_checked(NONCE_BYTES)?;
        self.0.decrypt(XNonce::from_slice(nonce), Payload { msg: body, aad: name.as_bytes() }).ok()
    }
}
