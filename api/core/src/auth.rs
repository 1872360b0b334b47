//! Who a credential belongs to.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use subtle::ConstantTimeEq as _;
use tepui_db::model::Credential;

use crate::{Caller, Cloud, Error, Turn};

/// An access key with its secret in the clear.
#[derive(Clone)]
pub struct AuthKey {
    /// The key and its user.
    pub credential: Credential,
    /// The secret, as the client signs with it.
    pub secret: String,
}

/// Why a bearer token was refused. An unknown key and a wrong secret are one case on purpose.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BearerError {
    /// Not a token of this cloud.
    #[error("the token is not valid")]
    Invalid,
    /// It could not be checked now.
    #[error("the token could not be checked")]
    Unchecked(#[source] Error),
}

/// Credentials by key id, so that a request costs no read of the store.
#[derive(Default)]
pub(crate) struct CredentialCache(RwLock<Known>);

#[derive(Default)]
struct Known {
    keys: HashMap<String, Arc<AuthKey>>,
    /// Counts deletions: what was read before one may be stale and is not kept.
    deletions: u64,
}

impl CredentialCache {
    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, key_id: &str) -> Option<Arc<AuthKey>> {
        self.known().keys.get(key_id).cloned()
    }

    /// Keeps a key that was read when there had been `deletions`.
    fn put(&self, key: &Arc<AuthKey>, deletions: u64) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.deletions == deletions {
            known.keys.insert(key.credential.key.id.clone(), Arc::clone(key));
        }
    }

    /// Forgets a key; called after its deletion is durable.
    pub(crate) fn forget(&self, key_id: &str) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.deletions += 1;
        known.keys.remove(key_id);
    }
}

impl AuthKey {
    /// The caller that this key makes.
    pub fn caller(&self, request_id: impl Into<String>) -> Caller {
        let Credential { key, user } = &self.credential;
        Caller {
            user_id: user.id,
            user_name: user.name.clone(),
            role: user.role,
            project: key.project_id,
            access_key_id: key.id.clone(),
            request_id: request_id.into(),
            dry_run: false,
            turn: Turn::default(),
        }
    }
}

impl Cloud {
    /// The key that a signature names, with the secret to check it by; `None` for an unknown key.
    ///
    /// # Errors
    /// Those of the store, or `Internal` when the secret was wrapped with another key file.
    pub async fn authenticate_key(&self, key_id: &str) -> Result<Option<Arc<AuthKey>>, Error> {
        if let Some(key) = self.credentials.get(key_id) {
            return Ok(Some(key));
        }
        let deletions = self.credentials.known().deletions;
        let Some(credential) = self.db.credential(key_id).await? else { return Ok(None) };
        let key = Arc::new(AuthKey { secret: self.open_secret(&credential)?, credential });
        self.credentials.put(&key, deletions);
        Ok(Some(key))
    }

    /// The key of a token `{key id}.{secret}`.
    ///
    /// # Errors
    /// `Invalid` for an unknown key as for a wrong secret, after the same work.
    pub async fn authenticate_bearer(&self, token: &str) -> Result<Arc<AuthKey>, BearerError> {
        let (key_id, secret) = token.split_once('.').unwrap_or((token, ""));
        let found = self.authenticate_key(key_id).await.map_err(BearerError::Unchecked)?;
        // An unknown key is compared with a secret nobody has, so that both refusals take one path.
        let expected = found.as_ref().map_or("no such key, no such secret, no way", |key| &key.secret);
        let equal = bool::from(expected.as_bytes().ct_eq(secret.as_bytes()));
        found.filter(|_| equal).ok_or(BearerError::Invalid)
    }

    pub(crate) fn open_secret(&self, credential: &Credential) -> Result<String, Error> {
        let key = &credential.key;
        let bytes = self.keyring.unwrap(&key.id, &key.wrapped_secret).map_err(Error::internal)?;
        String::from_utf8(bytes).map_err(Error::internal)
    }
}
