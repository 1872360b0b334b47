//! What every handler works with.

use std::sync::Arc;

use tepui_core::{Clock, Cloud, Entropy, Error};
use tepui_db::IdentityDb;
use tepui_db_sqlite::SqliteDb;
use tepui_ec2::Ec2;
use tepui_types::Epoch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::body::Room;
use crate::imports::Importer;
use crate::metrics::Metrics;
use crate::pki::Authority;
use crate::uploads::Uploads;

/// The wired control plane, shared by all listeners.
pub(crate) struct App {
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) db: Arc<SqliteDb>,
    pub(crate) ec2: Ec2,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) authority: Arc<Authority>,
    /// Certificate of the identity document's key, PEM.
    pub(crate) identity_pem: String,
    pub(crate) importer: Arc<Importer>,
    pub(crate) uploads: Arc<Uploads>,
    /// For the bodies of the public surface.
    pub(crate) room: Room,
    pub(crate) metrics: Arc<Metrics>,
    /// Changes under way; a shutdown waits for them, a client that hangs up ends none.
    pub(crate) changes: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl App {
    /// The database's epoch; also the sign that it answers.
    pub(crate) async fn epoch(&self) -> Result<Epoch, Error> {
        Ok(self.db.epoch().await?)
    }
}
