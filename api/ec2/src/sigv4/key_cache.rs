//! Signing keys, which stay the same for a day: four of a verification's five HMACs.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::Signature;

/// Keys kept at once; a day has one for each access key, region name and service in use.
const MAX_KEYS: usize = 4096;

/// An HMAC that has its key and no message yet: what the key costs is paid once.
type Keyed = Hmac<Sha256>;

/// A signing key.
pub(super) struct SigningKey {
    /// What it is derived from: `{secret}/{scope}`. No part of a scope has a slash, so that this is
    /// unambiguous. The secret is in it, so that a key whose secret was replaced is another key.
    origin: String,
    keyed: Keyed,
    cached: bool,
}

impl SigningKey {
    pub(super) fn sign(&self, text: &[u8]) -> [u8; 32] {
        finish(self.keyed.clone(), text)
    }
}

/// Signing keys of requests that were genuine; others are not kept, so that nobody can fill it.
#[derive(Default)]
pub(crate) struct KeyCache(RwLock<HashMap<String, Keyed>>);

impl KeyCache {
    pub(super) fn get(&self, signature: &Signature<'_>, secret: &str) -> SigningKey {
        let mut origin = String::with_capacity(128);
        origin.extend([secret, "/"]);
        origin.extend(signature.scope());
        let found = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&origin).cloned();
        let cached = found.is_some();
        SigningKey { keyed: found.unwrap_or_else(|| derive(signature, secret)), cached, origin }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(super) fn keep(&self, key: SigningKey) {
        if key.cached {
            return;
        }
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MAX_KEYS {
            keys.clear();
        }
        keys.insert(key.origin, key.keyed);
    }
}

fn derive(signature: &Signature<'_>, secret: &str) -> Keyed {
    let start = keyed(format!("AWS4{secret}").as_bytes());
    let parts = [signature.date(), &signature.region, &signature.service, "aws4_request"];
    parts.iter().fold(start, |key, part| keyed(&finish(key, part.as_bytes())))
}

fn keyed(key: &[u8]) -> Keyed {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    Keyed::new_from_slice(key).expect("a key of any length")
}

fn finish(mut keyed: Keyed, message: &[u8]) -> [u8; 32] {
    keyed.update(message);
    keyed.finalize().into_bytes().into()
}
