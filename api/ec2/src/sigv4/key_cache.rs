//! Signing keys, which stay the same for a day: four of a verification's five HMACs.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use super::{Signature, hmac};

/// Keys kept at once; a day has one for each access key, region name and service in use.
const MAX_KEYS: usize = 4096;

/// What a signing key is derived from. The secret is part of it, so that a key whose secret was
/// replaced is another key.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Origin {
    secret: String,
    date: String,
    region: String,
    service: String,
}

/// A signing key.
pub(super) struct SigningKey {
    origin: Origin,
    bytes: [u8; 32],
    cached: bool,
}

impl SigningKey {
    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }
}

/// Signing keys of requests that were genuine; others are not kept, so that nobody can fill it.
#[derive(Default)]
pub(crate) struct KeyCache(RwLock<HashMap<Origin, [u8; 32]>>);

impl KeyCache {
    pub(super) fn get(&self, signature: &Signature<'_>, secret: &str) -> SigningKey {
        let origin = Origin {
            secret: secret.into(),
            date: signature.date.clone(),
            region: signature.region.clone(),
            service: signature.service.clone(),
        };
        let found = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&origin).copied();
        SigningKey { bytes: found.unwrap_or_else(|| derive(&origin)), cached: found.is_some(), origin }
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
        keys.insert(key.origin, key.bytes);
    }
}

fn derive(origin: &Origin) -> [u8; 32] {
    let start = format!("AWS4{}", origin.secret);
    let parts = [&origin.date, &origin.region, &origin.service, "aws4_request"];
    let mut key = hmac(start.as_bytes(), parts[0].as_bytes());
    for part in &parts[1..] {
        key = hmac(&key, part.as_bytes());
    }
    key
}
