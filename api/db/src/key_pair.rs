//! SSH key pairs.

use async_trait::async_trait;
use tepui_types::{KeyPairId, ProjectId};

use crate::model::KeyPair;
use crate::{CreateOutcome, DbError};

/// SSH key pairs.
#[async_trait]
pub trait KeyPairDb: Send + Sync {
    /// Creates a key pair with its tags.
    async fn create_key_pair(
        &self,
        key: &KeyPair,
        tags: &[(String, String)],
    ) -> Result<CreateOutcome<KeyPairId>, DbError>;

    /// A project's key pairs, by name.
    async fn key_pairs(&self, project: ProjectId) -> Result<Vec<KeyPair>, DbError>;

    /// Deletes a key pair; returns it, or `None` when there was none.
    async fn delete_key_pair(&self, project: ProjectId, id: KeyPairId) -> Result<Option<KeyPair>, DbError>;
}
