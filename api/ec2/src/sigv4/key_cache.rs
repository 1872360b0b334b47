//! Signing keys, which stay the same for a day: four of a verification's five HMACs.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::Signature;

/// Keys kept at once; a day has one for each access key, region name and service in use.
const MAX_KEYS: usize = 4096;

/// An HMAC that has its key and no message yet: what the key costs is paid once.
type Keyed = Hmac<Sha256>;

/// A signing key.
pub(super) struct SigningKey {
    /// What it is derived from, beside the credential: a key whose secret was replaced is another key.
    secret: String,
    keyed: Keyed,
}

impl SigningKey {
    fn derived(signature: &Signature<'_>, secret: &str) -> Self {
        let start = keyed(format!("AWS4{secret}").as_bytes());
        let parts = signature.scope().split('/');
        let keyed = parts.fold(start, |key, part| keyed(&finish(key, part.as_bytes())));
        Self { secret: secret.to_owned(), keyed }
    }

    pub(super) fn sign(&self, text: &[u8]) -> [u8; 32] {
        finish(self.keyed.clone(), text)
    }
}

/// Signing keys by credential: access key, day, region and service. Only those of requests that were
/// genuine are kept, so that nobody can fill it.
#[derive(Default)]
pub(crate) struct KeyCache(RwLock<HashMap<String, Arc<SigningKey>>>);

impl KeyCache {
    /// The key, and whether it was kept.
    pub(super) fn get(&self, signature: &Signature<'_>, secret: &str) -> (Arc<SigningKey>, bool) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(&*signature.credential).filter(|key| key.secret == secret).cloned();
        drop(known);
        let is_kept = found.is_some();
        (found.unwrap_or_else(|| Arc::new(SigningKey::derived(signature, secret))), is_kept)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(super) fn keep(&self, signature: &Signature<'_>, key: Arc<SigningKey>) {
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MAX_KEYS {
            keys.clear();
        }
        keys.insert(signature.credential.clone().into_owned(), key);
    }
}

fn keyed(key: &[u8]) -> Keyed {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    Keyed::new_from_slice(key).expect("a key of any length")
}

fn finish(mut keyed: Keyed, message: &[u8]) -> [u8; 32] {
    keyed.update(message);
    keyed.finalize().into_bytes().into()
}
