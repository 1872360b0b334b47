//! NFS by ganesha: one export for each time that a volume is given to somebody.
//!
//! ```text
//!   ensure: recorded ─ linked ─ opened ─ served          revoke: shut ─ released ─ removed
//!                                  └ from here on open             └ the last call of it is done
//! ```
//! NFS knows no password: a client is admitted by its host's address, and has what the export has. So an export is a
//! folder of its own with another name of the volume's file in it, under a number that its handles carry. It is served
//! as a group of its own, and the file is that group's: a handle of one export opens no other's file, whatever its
//! client makes of it. An export that is dropped from the configuration answers its handles with "stale", and ganesha
//! frees it after the last call that had it: when it has said so, nothing of that export can land any more.

mod config;
mod daemon;
mod error;
mod ledger;
mod place;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tepui_types::{ExportId, failpoint};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use config::{is_listed, is_refused, is_released};
use daemon::Daemon;
pub use daemon::Settings;
pub use error::NfsError;
use ledger::{Entry, Ledger, Stage};

use crate::{Access, Backend, Export, ExportError, Found, Revoked, Source};

/// Where NFS listens (RFC 1813, 3.1).
pub const PORT: u16 = 2049;
/// Where the mount protocol listens: one port, so that a host's filter can name it.
pub const MOUNT_PORT: u16 = 20048;
/// Between two looks at an export that is to be released.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The fail points of each operation, as `storage::OPERATION::STEP`; each stands behind the step it names.
pub const STEPS: &[(&str, &[&str])] = &[
    ("nfs_export", &["recorded", "linked", "opened", "served"]),
    ("nfs_revoke", &["shut", "released", "removed"]),
];

/// The backend.
#[derive(Debug)]
pub struct Ganesha {
    daemon: Daemon,
    /// One change at a time. What this process heard ganesha say that it serves.
    served: Mutex<BTreeSet<ExportId>>,
}

impl Ganesha {
    /// A backend on the ganesha of `settings`, which is not started before [`Backend::recover`].
    pub fn new(settings: Settings) -> Self {
        Self { daemon: Daemon { settings }, served: Mutex::default() }
    }

    /// Returns once ganesha or rpcbind has ended, and [`Backend::recover`] is due.
    ///
    /// # Errors
    /// The processes cannot be watched.
    pub async fn ended(&self) -> Result<(), NfsError> {
        self.daemon.ended().await
    }

    /// Ends ganesha and everything it serves, as when a host leaves the cloud. rpcbind may serve others.
    ///
    /// # Errors
    /// The process does not end.
    pub async fn end(&self) -> Result<(), NfsError> {
        let _served = self.served.lock().await;
        self.daemon.end().await
    }

    /// Whether this host gave out an export over NFS that is not gone.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn has(&self, id: ExportId) -> Result<bool, NfsError> {
        Ok(self.ledger()?.get(id).is_some())
    }

    fn ledger(&self) -> Result<Ledger, NfsError> {
        Ledger::load(&self.daemon.settings.ledger())
    }

    fn save(&self, ledger: &Ledger) -> Result<(), NfsError> {
        ledger.save(&self.daemon.settings.ledger())
    }

    /// Writes what ganesha reads next. What is away would only be refused and is left out.
    fn configure(&self, ledger: &mut Ledger, served: &mut BTreeSet<ExportId>) -> Result<(), NfsError> {
        let away = ledger.away();
        served.retain(|id| !away.contains(id));
        self.part_with(ledger, &away)?;
        let settings = &self.daemon.settings;
        let open = ledger.open().filter(|(id, _)| !away.contains(id)).map(|(_, entry)| entry);
        write(&settings.config(), &config::text(settings, ledger.awaits_an_end(), open))
    }

    /// What is left out and was never told to the ganesha that runs, or is freed, has nothing to wait for.
    fn part_with(&self, ledger: &mut Ledger, away: &BTreeSet<ExportId>) -> Result<(), NfsError> {
        if away.is_empty() {
            return Ok(());
        }
        let said = self.daemon.process()?.map(|_| self.daemon.said()).transpose()?;
        for id in away {
            if let Some(entry) = ledger.get_mut(*id)
                && said.as_ref().is_none_or(|said| is_released(said, &entry.folder))
            {
                entry.stage = Stage::Made;
            }
        }
        self.save(ledger)
    }

    fn source(&self, entry: &Entry) -> Source {
        let (server, path) = (self.daemon.settings.address, entry.served());
        Source::Nfs { server, path, user: entry.group, group: entry.group }
    }
}

#[async_trait]
impl Backend for Ganesha {
    async fn recover(&self, exports: &[Export]) -> Result<Vec<(ExportId, ExportError)>, ExportError> {
        let mut served = self.served.lock().await;
        served.clear();
        self.daemon.ensure_port_mapper().await?;
        let mut ledger = self.ledger()?;
        if self.daemon.process()?.is_none() {
            // The process that could carry out calls of them is gone.
            for id in ledger.ids_at(Stage::Closing) {
                self.forget(&mut ledger, id)?;
            }
        }
        let (mut named, mut failed) = (Vec::new(), Vec::new());
        for export in exports {
            match place::folder(export).and_then(|folder| ledger.record(export, &folder)) {
                Ok(()) => named.push(export.id),
                Err(error) => failed.push((export.id, error)),
            }
        }
        self.save(&ledger)?;
        for id in &named {
            if let Some(Err(error)) = ledger.get_mut(*id).map(open) {
                failed.push((*id, error));
            }
        }
        self.save(&ledger)?;
        self.configure(&mut ledger, &mut served)?;
        self.daemon.ensure().await?;
        named.retain(|id| failed.iter().all(|(failed, _)| failed != id));
        failed.extend(self.reload(&mut ledger, &named, &mut served).await?);
        Ok(failed)
    }

    async fn ensure(&self, export: &Export) -> Result<Source, ExportError> {
        let mut served = self.served.lock().await;
        if self.daemon.process()?.is_none() {
            return Err(NfsError::Away.into());
        }
        let (mut ledger, id) = (self.ledger()?, export.id);
        ledger.record(export, &place::folder(export)?)?;
        if !served.contains(&id) {
            self.save(&ledger)?;
            point("nfs_export", "recorded")?;
            if let Some(entry) = ledger.get_mut(id) {
                open(entry)?;
            }
            point("nfs_export", "linked")?;
            self.save(&ledger)?;
            self.configure(&mut ledger, &mut served)?;
            point("nfs_export", "opened")?;
            if let Some((_, error)) = self.reload(&mut ledger, &[id], &mut served).await?.pop() {
                return Err(error);
            }
            point("nfs_export", "served")?;
        }
        ledger.get(id).map(|entry| self.source(entry)).ok_or_else(|| NfsError::Away.into())
    }

    async fn revoke(&self, id: ExportId, patience: Duration) -> Result<Revoked, ExportError> {
        let deadline = Instant::now() + patience;
        self.shut(id).await?;
        loop {
            if self.is_released(id).await? {
                return Ok(Revoked::Gone);
            }
            if Instant::now() >= deadline {
                let found = self.ledger()?.found().into_iter().find(|found| found.id == Some(id));
                return Ok(Revoked::StillConnected(found.map(|found| found.connections).unwrap_or_default()));
            }
            // Others are served meanwhile.
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn list(&self) -> Result<Vec<Found>, ExportError> {
        if self.daemon.process()?.is_none() {
            return Err(NfsError::Away.into());
        }
        let ledger = self.ledger()?;
        let mut served = config::served(&self.daemon.said()?).ok_or(NfsError::Untold)?;
        let path = self.daemon.settings.config();
        let configured =
            fs::read_to_string(&path).map_err(|source| NfsError::File { path: path.clone(), source })?;
        let mut found = ledger.found();
        for one in &mut found {
            let entry = one.id.and_then(|id| ledger.get(id));
            let Some(entry) = entry.filter(|entry| served.remove(&entry.folder)) else {
                one.open = false;
                continue;
            };
            if one.open && !config::has(&configured, entry) {
                one.others.push(format!("whom {} names by now, which was changed", path.display()));
            }
        }
        found.extend(served.into_iter().map(stranger));
        Ok(found)
    }
}

/// For the doctor.
impl Ganesha {
    /// Whether clients find it by way of the port mapper.
    ///
    /// # Errors
    /// `rpcinfo` cannot be executed.
    pub async fn is_found(&self) -> Result<bool, NfsError> {
        self.daemon.is_known().await
    }
}

/// An export that is none of ours. Ganesha does not say who may write to it.
fn stranger(folder: PathBuf) -> Found {
    Found {
        name: folder.display().to_string(),
        id: None,
        path: Some(folder),
        access: Access::ReadWrite,
        open: true,
        connections: vec![],
        others: vec![],
    }
}

/// The steps.
impl Ganesha {
    /// Makes ganesha read its configuration; what it does not serve of `ids` then.
    async fn reload(
        &self,
        ledger: &mut Ledger,
        ids: &[ExportId],
        served: &mut BTreeSet<ExportId>,
    ) -> Result<Vec<(ExportId, ExportError)>, ExportError> {
        if !ledger.awaits_an_end() {
            self.daemon.trim_log()?;
        }
        let folders: Vec<(ExportId, PathBuf)> =
            ids.iter().filter_map(|id| Some((*id, ledger.get(*id)?.folder.clone()))).collect();
        let from = self.daemon.tell()?;
        let is_settled = |said: &str| {
            folders.iter().all(|(_, folder)| is_listed(said, folder) || is_refused(said, folder))
        };
        let said = self.daemon.hear(from, is_settled).await?;
        let (listed, refused): (Vec<_>, Vec<_>) =
            folders.into_iter().partition(|(_, folder)| is_listed(&said, folder));
        served.extend(listed.into_iter().map(|(id, _)| id));
        for (id, _) in &refused {
            if let Some(entry) = ledger.get_mut(*id) {
                entry.stage = Stage::Made;
            }
        }
        self.save(ledger)?;
        Ok(refused.into_iter().map(|(id, folder)| (id, NfsError::Refused { folder }.into())).collect())
    }

    /// Lets nobody in any more, and answers nobody's handles.
    async fn shut(&self, id: ExportId) -> Result<(), ExportError> {
        let mut served = self.served.lock().await;
        let mut ledger = self.ledger()?;
        let runs = self.daemon.process()?.is_some();
        let is_untold = |entry: &Entry| entry.stage == Stage::Open && entry.served().exists();
        if runs && !served.contains(&id) && ledger.get(id).is_some_and(is_untold) {
            // The agent ended before it heard what became of it: an export that was never there is never released.
            self.configure(&mut ledger, &mut served)?;
            self.reload(&mut ledger, &[id], &mut served).await?;
        }
        served.remove(&id);
        let Some(entry) = ledger.get_mut(id) else { return Ok(()) };
        match entry.stage {
            Stage::Made => return self.forget(&mut ledger, id),
            Stage::Open | Stage::Closing => entry.stage = Stage::Closing,
        }
        self.save(&ledger)?;
        self.configure(&mut ledger, &mut served)?;
        point("nfs_revoke", "shut")?;
        if runs {
            self.daemon.tell()?;
        }
        Ok(())
    }

    /// Whether nothing of an export can land any more; then it is forgotten.
    async fn is_released(&self, id: ExportId) -> Result<bool, ExportError> {
        let mut served = self.served.lock().await;
        let mut ledger = self.ledger()?;
        let Some(entry) = ledger.get(id) else { return Ok(true) };
        if self.daemon.process()?.is_some() && !is_released(&self.daemon.said()?, &entry.folder) {
            return Ok(false);
        }
        point("nfs_revoke", "released")?;
        self.forget(&mut ledger, id)?;
        if self.daemon.process()?.is_some() && !ledger.awaits_an_end() {
            // It need not say more.
            self.configure(&mut ledger, &mut served)?;
            self.daemon.tell()?;
        }
        Ok(true)
    }

    fn forget(&self, ledger: &mut Ledger, id: ExportId) -> Result<(), ExportError> {
        if let Some(entry) = ledger.get(id) {
            place::remove(entry, ledger.shares(id, &entry.file))?;
            point("nfs_revoke", "removed")?;
            ledger.remove(id);
            self.save(ledger)?;
        }
        Ok(())
    }
}

/// Makes an export's folder; from here on ganesha may be told of it.
fn open(entry: &mut Entry) -> Result<(), ExportError> {
    place::make(entry)?;
    entry.stage = Stage::Open;
    Ok(())
}

/// At once or not at all, as ganesha reads it when it likes. It is written anew after each boot.
fn write(path: &Path, text: &str) -> Result<(), NfsError> {
    let new = path.with_added_extension("new");
    let folder = path.parent().unwrap_or(Path::new("/"));
    let write = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(&new, text)?;
        fs::rename(&new, path)
    };
    write().map_err(|source| NfsError::File { path: path.to_owned(), source })
}

fn point(operation: &str, step: &str) -> Result<(), failpoint::Tripped> {
    failpoint::hit(&format!("storage::{operation}::{step}"))
}
