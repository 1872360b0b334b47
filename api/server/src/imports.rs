//! Carries imports out: fetch, inspect, convert, store, then tell the domain.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tepui_core::{Caller, Cloud, Entropy, Error, ImportRequest, ImportedImage};
use tepui_db::model::ImportTask;
use tepui_ec2::ImageImports;
use tepui_marketplace::fetch::{self, AddressPolicy};
use tepui_marketplace::{ImageStore, Limits, StoredImage};
use tepui_types::{Digest, ImportTaskId};
use tokio::sync::RwLock;
use url::Url;

use crate::disk::Disk;
use crate::files::{self, FileError};
use crate::lanes::{CONVERSIONS, Lanes, Place};
use crate::uploads::Upload;

/// Where an image does not say otherwise.
pub(crate) const DEFAULT_LOGIN_USER: &str = "root";
/// How often progress is written down and the room on the disk is looked at.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Percent of an import's way at which the file is here and its conversion begins.
const FETCHED_PERCENT: u8 = 80;

/// Where the file is.
pub(crate) enum Source {
    /// Here, with the digest that its sender says it has.
    Upload(Box<Upload>, Option<Digest>),
    /// There; checked by [`checked_url`].
    Url(String),
}

/// What an image's owner says of it.
pub(crate) struct Outlook {
    pub(crate) login_user: String,
    pub(crate) public: bool,
}

/// Carries imports out, in the background.
pub(crate) struct Importer {
    cloud: Arc<Cloud>,
    store: ImageStore,
    limits: Limits,
    policy: AddressPolicy,
    downloads: PathBuf,
    disk: Disk,
    entropy: Arc<dyn Entropy>,
    lanes: Arc<Lanes>,
    /// Held shared from before a file is sealed until a row names it; held alone by the removal of
    /// files that no row names.
    sealing: RwLock<()>,
}

impl Importer {
    /// `downloads` is emptied: what is there belonged to a process that is gone.
    pub(crate) fn new(
        cloud: Arc<Cloud>,
        store: ImageStore,
        policy: AddressPolicy,
        downloads: PathBuf,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, FileError> {
        match std::fs::remove_dir_all(&downloads) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(files::error("empty", &downloads)(source));
            }
            Ok(()) | Err(_) => {}
        }
        files::passable_folder(&downloads)?;
        let (disk, lanes, sealing) = (Disk::of(&downloads), Lanes::new(), RwLock::new(()));
        let limits = Limits::default();
        Ok(Self { cloud, store, limits, policy, downloads, disk, entropy, lanes, sealing })
    }

    /// A place for one import more of the caller's project; before its task is put into the books.
    pub(crate) fn enter(&self, caller: &Caller) -> Result<Place, Error> {
        self.lanes.enter(caller.project)
    }

    /// Whether the image's file is in the store.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.store.path(digest).is_file()
    }

    /// Where the image's file is or would be.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.store.path(digest)
    }

    /// Begins to carry out an import whose task is in the books.
    pub(crate) fn start(
        self: &Arc<Self>,
        caller: Caller,
        task: ImportTaskId,
        source: Source,
        outlook: Outlook,
        place: Place,
    ) {
        let this = Arc::clone(self);
        // Not waited for at a shutdown: the next start says in the books that it was cut off.
        tokio::spawn(async move {
            if let Err(reason) = this.run(&caller, task, source, outlook, &place).await {
                tracing::warn!(%task, reason, "import failed");
                if let Err(error) = this.cloud.fail_import(&caller, task, &reason).await {
                    tracing::error!(%task, %error, "the failure of an import is not written down");
                }
            }
        });
    }

    async fn run(
        &self,
        caller: &Caller,
        task: ImportTaskId,
        source: Source,
        outlook: Outlook,
        place: &Place,
    ) -> Result<(), String> {
        match source {
            Source::Upload(upload, sha256) => {
                let outcome = self.check_and_convert(caller, task, &upload, sha256, outlook, place).await;
                upload.drop_data().await.map_err(|error| words(&error))?;
                outcome
            }
            Source::Url(url) => {
                let file = self.downloads.join(format!("{:032x}", self.entropy.random()));
                let outcome = match self.fetch(caller, task, &url, &file, place).await {
                    Ok(()) => self.convert(caller, task, &file, outlook, place).await,
                    Err(reason) => Err(reason),
                };
                // A download that never began left no file.
                let _ = tokio::fs::remove_file(&file).await;
                outcome
            }
        }
    }

    async fn check_and_convert(
        &self,
        caller: &Caller,
        task: ImportTaskId,
        upload: &Upload,
        sha256: Option<Digest>,
        outlook: Outlook,
        place: &Place,
    ) -> Result<(), String> {
        if let Some(expected) = sha256 {
            upload.check_digest(expected).await.map_err(|error| words(&error))?;
        }
        self.convert(caller, task, &upload.data(), outlook, place).await
    }

    async fn fetch(
        &self,
        caller: &Caller,
        task: ImportTaskId,
        url: &str,
        file: &Path,
        place: &Place,
    ) -> Result<(), String> {
        let _slots = place.download().await.map_err(|error| error.to_string())?;
        self.disk.check(1).map_err(|error| words(&error))?;
        let percent = AtomicU8::new(0);
        let on_progress = |progress: fetch::Progress| {
            let total = progress.total.unwrap_or(self.limits.max_stored_bytes).max(1);
            let share = progress.received.saturating_mul(FETCHED_PERCENT.into()) / total;
            percent.store(u8::try_from(share).unwrap_or(FETCHED_PERCENT), Ordering::Relaxed);
        };
        let download = fetch::download(url, self.policy, file, self.limits.max_stored_bytes, on_progress);
        tokio::select! {
            fetched = download => fetched.map(drop).map_err(|error| words(&error)),
            reason = self.keep_books(caller, task, &percent) => Err(reason),
        }
    }

    /// Ends with the reason when the disk has no room any more.
    async fn keep_books(&self, caller: &Caller, task: ImportTaskId, percent: &AtomicU8) -> String {
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        let mut told = None;
        loop {
            ticks.tick().await;
            if let Err(failure) = self.disk.check(1) {
                return words(&failure);
            }
            let now = percent.load(Ordering::Relaxed);
            if told.replace(now) != Some(now) {
                self.note(caller, task, now, "downloading").await;
            }
        }
    }

    /// Progress is for people: an import goes on without it.
    async fn note(&self, caller: &Caller, task: ImportTaskId, percent: u8, message: &str) {
        if let Err(error) = self.cloud.import_progress(caller, task, percent, message).await {
            tracing::debug!(%task, %error, "progress is not written down");
        }
    }

    async fn convert(
        &self,
        caller: &Caller,
        task: ImportTaskId,
        file: &Path,
        outlook: Outlook,
        place: &Place,
    ) -> Result<(), String> {
        let _slot = place.conversion().await.map_err(|error| error.to_string())?;
        self.note(caller, task, FETCHED_PERCENT, "converting").await;
        let _sealing = self.sealing.read().await;
        let limits = self.limits_now()?;
        let stored = self.store.import(file, &limits, None).await.map_err(|error| words(&error))?;
        let imported = imported(stored, outlook);
        self.cloud.complete_import(caller, task, imported).await.map_err(|error| words(&error))?;
        Ok(())
    }

    /// The limits of one conversion: all that run may together take what the disk has to spare.
    fn limits_now(&self) -> Result<Limits, String> {
        self.disk.check(1).map_err(|error| words(&error))?;
        let spare = self.disk.spare().map_err(|error| words(&error))? / CONVERSIONS as u64;
        Ok(Limits { max_stored_bytes: self.limits.max_stored_bytes.min(spare), ..self.limits })
    }

    /// Removes image files that no image and no live placement needs. Returns how many.
    pub(crate) async fn remove_unused(&self) -> Result<usize, String> {
        let _alone = self.sealing.write().await;
        let wanted = self.cloud.digests_in_use().await.map_err(|error| words(&error))?;
        let have = self.store.digests().map_err(|error| words(&error))?;
        let unused: Vec<_> = have.iter().filter(|digest| !wanted.contains(digest)).collect();
        for digest in &unused {
            self.store.remove(digest).map_err(|error| words(&error))?;
        }
        Ok(unused.len())
    }
}

fn imported(stored: StoredImage, outlook: Outlook) -> ImportedImage {
    ImportedImage {
        digest: stored.digest,
        size_bytes: stored.size_bytes,
        login_user: outlook.login_user,
        public: outlook.public,
    }
}

/// An error with what it rests on, for the books.
fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// The URL as it may stand in the books, without credentials; where it may lead is checked at the
/// download, redirect by redirect.
pub(crate) fn checked_url(url: &str) -> Result<String, Error> {
    let rule = "is an http or https URL";
    let parsed = Url::parse(url).map_err(|_| Error::invalid("url", url, rule))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(Error::invalid("url", fetch::without_credentials(&parsed), rule));
    }
    Ok(fetch::without_credentials(&parsed).to_string())
}

/// `ImportImage` of the EC2 surface.
pub(crate) struct UrlImports {
    pub(crate) importer: Arc<Importer>,
}

#[async_trait]
impl ImageImports for UrlImports {
    async fn import_url(&self, caller: &Caller, url: &str, description: &str) -> Result<ImportTask, Error> {
        let source = checked_url(url)?;
        let place = self.importer.enter(caller)?;
        let request =
            ImportRequest { name: None, description: description.to_owned(), source, public: false };
        let task = self.importer.cloud.begin_import(caller, request).await?;
        let outlook = Outlook { login_user: DEFAULT_LOGIN_USER.into(), public: false };
        self.importer.start(caller.clone(), task.id, Source::Url(url.to_owned()), outlook, place);
        Ok(task)
    }
}
