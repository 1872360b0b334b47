//! Puts the control plane's parts together from what lies under `data_dir`.

use std::path::PathBuf;
use std::sync::Arc;

use data_encoding::HEXLOWER_PERMISSIVE;
use tepui_core::{Clock, Cloud, CloudParts, Entropy, Keyring};
use tepui_db_sqlite::{OpenError, Options, SqliteDb};

use crate::config::Config;
use crate::files::{self, FileError, SECRET};
use crate::pki::{Authority, IdentityKey, PkiError};
use crate::root::{SystemClock, SystemEntropy};

/// Why the parts cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum WiringError {
    /// There is nothing yet.
    #[error("{} is missing: run `tepui-api --config FILE init` first", path.display())]
    NotInitialized {
        /// The file that every initialized folder has.
        path: PathBuf,
    },
    /// The key file does not hold a key.
    #[error("{} does not hold 64 hexadecimal digits: restore it from a backup", path.display())]
    DamagedKey {
        /// The file.
        path: PathBuf,
    },
    /// The database holds secrets, but the key that wraps them is gone.
    #[error("{} is missing although there is a database: restore it from a backup", path.display())]
    KeyMissing {
        /// The file.
        path: PathBuf,
    },
    /// A file or folder could not be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database could not be opened.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// A key or certificate could not be used.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

/// The parts that both `init` and a server need.
pub(crate) struct Parts {
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) db: Arc<SqliteDb>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) identity_pem: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

/// Opens everything under `data_dir`; with `create` it makes what is missing.
pub(crate) fn open(config: &Config, create: bool) -> Result<Parts, WiringError> {
    let layout = config.layout();
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) =
        (Arc::new(SystemClock), Arc::new(SystemEntropy));
    if create {
        create_folders(config)?;
    }
    let key = match read_key(&layout.secrets_key())? {
        Some(key) => key,
        None if layout.database().exists() => {
            return Err(WiringError::KeyMissing { path: layout.secrets_key() });
        }
        None if create => create_key(config, entropy.as_ref())?,
        None => return Err(WiringError::NotInitialized { path: layout.secrets_key() }),
    };
    files::make_private(&layout.database())?;
    let db = Arc::new(SqliteDb::open(&layout.database(), Options::default())?);
    let now = clock.now();
    let authority = Arc::new(Authority::open_or_create(&layout, &config.region, now, entropy.as_ref())?);
    let identity = IdentityKey::open_or_create(&layout, &config.region, now, entropy.as_ref())?;
    let identity_pem = identity.pem().to_owned();
    let cloud = Arc::new(Cloud::new(CloudParts {
        db: Arc::clone(&db) as _,
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
        signer: Arc::new(identity),
        keyring: Keyring::new(&key),
        config: config.cloud(),
    }));
    Ok(Parts { cloud, db, authority, identity_pem, clock, entropy })
}

/// The conversion's sandbox runs as a user of its own, who must get through to the image files but
/// may list nothing; keys and database are closed by their own modes.
fn create_folders(config: &Config) -> Result<(), FileError> {
    let layout = config.layout();
    files::passable_folder(layout.root())?;
    files::passable_folder(&layout.uploads())?;
    files::passable_folder(&layout.downloads())?;
    files::private_folder(&layout.consoles())?;
    files::passable_folder(&layout.pki())
}

fn read_key(path: &std::path::Path) -> Result<Option<[u8; 32]>, WiringError> {
    let Some(text) = files::read(path)? else { return Ok(None) };
    let bytes = HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).ok().and_then(|b| b.try_into().ok());
    bytes.map(Some).ok_or_else(|| WiringError::DamagedKey { path: path.to_owned() })
}

fn create_key(config: &Config, entropy: &dyn Entropy) -> Result<[u8; 32], FileError> {
    let mut key = [0; 32];
    entropy.fill(&mut key);
    let text = format!("{}\n", HEXLOWER_PERMISSIVE.encode(&key));
    files::write(&config.layout().secrets_key(), text.as_bytes(), SECRET)?;
    Ok(key)
}
