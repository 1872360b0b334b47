//! `tepui-api init`: a new cloud with its first administrator.

use std::path::PathBuf;

use serde::Serialize;
use tepui_core::Error;
use tepui_types::ProjectId;

use crate::config::Config;
use crate::wiring::{self, WiringError};

/// Why a cloud could not be made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Files, keys or the database.
    #[error(transparent)]
    Wiring(#[from] WiringError),
    /// The first project or user.
    #[error("cannot make the first project and its administrator")]
    Bootstrap(#[from] Error),
}

/// What a new cloud's operator needs, as `init` prints it.
#[derive(Clone, Serialize)]
pub struct Initialized {
    /// The first project.
    pub project_id: ProjectId,
    /// The first administrator's access key in it.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// For `Authorization: Bearer`.
    pub token: String,
    /// Certificate of the cloud's authority.
    pub ca_pem_path: PathBuf,
}

/// Makes database, keys, authority, first project and user, or finds them. Repeated, also after it
/// was cut off, it gives the same answer.
///
/// # Errors
/// See [`InitError`]; a running server holds the database.
pub async fn init(config: &Config) -> Result<Initialized, InitError> {
    let parts = wiring::open(config, true)?;
    let first = parts.cloud.bootstrap().await?;
    parts.cloud.flush_audit().await;
    Ok(Initialized {
        project_id: first.project_id,
        token: format!("{}.{}", first.key.id, first.key.secret),
        access_key_id: first.key.id,
        secret_access_key: first.key.secret,
        ca_pem_path: config.layout().ca_certificate(),
    })
}
