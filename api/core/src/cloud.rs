//! The one object that every protocol talks to.

use std::sync::Arc;

use jiff::Timestamp;
use tepui_db::Db;
use tepui_types::Epoch;
use tokio::sync::{Notify, OnceCell, Semaphore};

use crate::admission::Admissions;
use crate::audit::Audits;
use crate::auth::CredentialCache;
use crate::console::Consoles;
use crate::disk_io::IoBook;
use crate::fleet::Fleet;
use crate::loads::Loads;
use crate::sending::Sendings;
use crate::volume::WatchedTime;
use crate::wake::Wakes;
use crate::{Clock, CloudConfig, CloudParts, Entropy, IdentitySigner, Keyring};

/// The domain. Shared as an `Arc`; its verbs are methods, one file for each resource.
pub struct Cloud {
    pub(crate) db: Arc<dyn Db>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) signer: Arc<dyn IdentitySigner>,
    pub(crate) keyring: Keyring,
    pub(crate) config: CloudConfig,
    pub(crate) wakes: Wakes,
    pub(crate) fleet: Fleet,
    pub(crate) io: IoBook,
    pub(crate) loads: Loads,
    pub(crate) watched: WatchedTime,
    /// When this process began, by its steady clock.
    pub(crate) began: Timestamp,
    pub(crate) credentials: CredentialCache,
    pub(crate) consoles: Consoles,
    pub(crate) sendings: Sendings,
    pub(crate) identities: crate::agents::IdentityCache,
    pub(crate) vpc_parts: crate::agents::VpcParts,
    pub(crate) host_turns: Semaphore,
    pub(crate) audits: Audits,
    pub(crate) admissions: Arc<Admissions>,
    /// Ends the reconcilers' wait.
    pub(crate) reconcile: Notify,
    pub(crate) epoch: OnceCell<Epoch>,
}

impl Cloud {
    /// Builds the domain. Does no I/O.
    pub fn new(parts: CloudParts) -> Self {
        let consoles = Consoles::new(parts.config.consoles_dir.clone());
        Self {
            db: parts.db,
            fleet: Fleet::new(parts.clock.steady()),
            io: IoBook::new(parts.clock.now()),
            loads: Loads::new(parts.config.overcommit),
            watched: WatchedTime::default(),
            began: parts.clock.steady(),
            clock: parts.clock,
            entropy: parts.entropy,
            signer: parts.signer,
            keyring: parts.keyring,
            wakes: Wakes::default(),
            credentials: CredentialCache::default(),
            consoles,
            sendings: Sendings::default(),
            identities: crate::agents::IdentityCache::default(),
            vpc_parts: crate::agents::VpcParts::default(),
            admissions: Arc::default(),
            host_turns: Semaphore::new(crate::agents::HOST_TURNS),
            audits: Audits::new(parts.config.audits_waiting),
            reconcile: Notify::new(),
            epoch: OnceCell::new(),
            config: parts.config,
        }
    }

    /// The operator's settings.
    pub const fn config(&self) -> &CloudConfig {
        &self.config
    }

    /// The time of day, from the cloud's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Now, by the clock that never jumps.
    pub(crate) fn steady(&self) -> Timestamp {
        self.clock.steady()
    }

    /// The time of day that was at `steady`, by the clock as it is set now.
    pub(crate) fn time_of_day(&self, steady: Timestamp) -> Timestamp {
        let ago = self.steady().duration_since(steady);
        self.now().checked_sub(ago).unwrap_or(steady)
    }

    pub(crate) fn random(&self) -> u128 {
        self.entropy.random()
    }
}
