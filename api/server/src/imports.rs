//! Carries imports out: fetch, inspect, convert, store, then tell the domain.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable as _};
use tepui_core::{Caller, Cloud, Error, ImportRequest, ImportedImage, Kind};
use tepui_db::model::ImportTask;
use tepui_ec2::{ImageImports, UrlImport};
use tepui_marketplace::fetch::{self, AddressPolicy, FetchError, Retries};
use tepui_marketplace::{Content, ImageStore, Limits, StoredImage};
use tepui_types::rest::UploadContent;
use tepui_types::{Digest, ImportTaskId};
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::disk::Disk;
use crate::downloads::{Downloads, Order};
use crate::lanes::{CONVERSIONS, Lanes, Place};
use crate::server::StartError;
use crate::uploads::Upload;

/// Where an image does not say otherwise.
pub(crate) const DEFAULT_LOGIN_USER: &str = "root";
/// How often progress is written down and the room on the disk is looked at.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Pauses before an import's end is offered to busy or full books again: the shortest, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
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

/// Why an import is not carried to its end.
enum End {
    /// It is refused or failed, for this reason.
    Failed(String),
    /// The process ends; the next one goes on.
    ShutDown,
}

impl From<String> for End {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

/// Carries imports out, in the background.
pub(crate) struct Importer {
    cloud: Arc<Cloud>,
    store: ImageStore,
    limits: Limits,
    policy: AddressPolicy,
    downloads: Downloads,
    disk: Disk,
    lanes: Arc<Lanes>,
    /// Held shared from before a file is sealed until a row names it; held alone by the removal of
    /// files that no row names.
    sealing: RwLock<()>,
    /// Ends downloads.
    stop: CancellationToken,
}

impl Importer {
    /// Nothing runs before [`Importer::resume`].
    pub(crate) fn new(
        cloud: Arc<Cloud>,
        store: ImageStore,
        policy: AddressPolicy,
        downloads: Downloads,
        stop: CancellationToken,
    ) -> Self {
        let (disk, lanes, sealing) = (Disk::of(downloads.folder()), Lanes::new(), RwLock::new(()));
        let limits = Limits::default();
        Self { cloud, store, limits, policy, downloads, disk, lanes, sealing, stop }
    }

    /// Goes on with the downloads that a dead process left, and fails every other import that it left
    /// active. Called once at start.
    pub(crate) async fn resume(self: &Arc<Self>) -> Result<(), StartError> {
        let mut resumed = Vec::new();
        for task in self.cloud.interrupted_imports().await? {
            let Some(order) = self.downloads.order(task.id) else { continue };
            match self.again(&task, &order).await {
                Ok((caller, place)) => resumed.push((task.id, order, caller, place)),
                Err(error) => tracing::warn!(task = %task.id, %error, "an import is not gone on with"),
            }
        }
        let ids: Vec<_> = resumed.iter().map(|(task, ..)| *task).collect();
        self.cloud.fail_interrupted_imports(&ids).await?;
        self.downloads.keep_only(&ids)?;
        for (task, order, caller, place) in resumed {
            tracing::info!(%task, "goes on with a download");
            let outlook = Outlook { login_user: order.login_user, public: order.public };
            self.start(caller, task, Source::Url(order.url), outlook, place);
        }
        Ok(())
    }

    /// Who asked for an import, with the rights of today, and a place for it.
    async fn again(&self, task: &ImportTask, order: &Order) -> Result<(Caller, Place), Error> {
        let key = self.cloud.authenticate_key(&order.access_key_id).await?;
        let caller = key.map(|key| key.caller(&order.request_id));
        let caller = caller.filter(|caller| caller.project == task.project_id);
        let caller = caller.ok_or_else(|| Error::not_found(Kind::AccessKey, &order.access_key_id))?;
        let place = self.enter(&caller)?;
        Ok((caller, place))
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
        // Not waited for at a shutdown: the next start goes on with a download, and says in the books
        // that anything else was cut off.
        tokio::spawn(async move {
            match this.run(&caller, task, source, outlook, &place).await {
                Ok(()) => {}
                Err(End::ShutDown) => tracing::info!(%task, "a download waits for the next start"),
                Err(End::Failed(reason)) => this.fail(&caller, task, &reason).await,
            }
        });
    }

    async fn fail(&self, caller: &Caller, task: ImportTaskId, reason: &str) {
        tracing::warn!(%task, reason, "import failed");
        if let Err(error) = written(|| self.cloud.fail_import(caller, task, reason)).await {
            tracing::error!(%task, %error, "the failure of an import is not written down");
        }
    }

    async fn run(
        &self,
        caller: &Caller,
        task: ImportTaskId,
        source: Source,
        outlook: Outlook,
        place: &Place,
    ) -> Result<(), End> {
        match source {
            Source::Upload(upload, sha256) => {
                let outcome = self.check_and_convert(caller, task, &upload, sha256, outlook, place).await;
                upload.drop_data().await.map_err(|error| words(&error))?;
                Ok(outcome?)
            }
            Source::Url(url) => {
                let outcome = self.fetch_and_convert(caller, task, url, outlook, place).await;
                if !matches!(outcome, Err(End::ShutDown)) {
                    self.downloads.remove(task);
                }
                outcome
            }
        }
    }

    async fn fetch_and_convert(
        &self,
        caller: &Caller,
        task: ImportTaskId,
        url: String,
        outlook: Outlook,
        place: &Place,
    ) -> Result<(), End> {
        let order = Order {
            access_key_id: caller.access_key_id.clone(),
            request_id: caller.request_id.clone(),
            url,
            login_user: outlook.login_user.clone(),
            public: outlook.public,
        };
        let file = self.downloads.begin(task, &order).map_err(|error| words(&error))?;
        self.fetch(caller, task, &order.url, &file, place).await?;
        Ok(self.convert(caller, task, (&file, Content::Bootable), outlook, place).await?)
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
        let content = content(upload.image().content);
        self.convert(caller, task, (&upload.data(), content), outlook, place).await
    }

    async fn fetch(
        &self,
        caller: &Caller,
        task: ImportTaskId,
        url: &str,
        file: &Path,
        place: &Place,
    ) -> Result<(), End> {
        let _slots = place.download().await.map_err(|error| error.to_string())?;
        self.disk.check(1).map_err(|error| words(&error))?;
        let percent = AtomicU8::new(0);
        let on_progress = |progress: fetch::Progress| {
            let total = progress.total.unwrap_or(self.limits.max_stored_bytes).max(1);
            let share = progress.received.saturating_mul(FETCHED_PERCENT.into()) / total;
            percent.store(u8::try_from(share).unwrap_or(FETCHED_PERCENT), Ordering::Relaxed);
        };
        let (policy, max_bytes) = (self.policy, self.limits.max_stored_bytes);
        let source = fetch::Source { url, policy, max_bytes, retries: Retries::default(), stop: &self.stop };
        let download = fetch::download(&source, file, on_progress);
        tokio::select! {
            fetched = download => match fetched {
                Ok(_) => Ok(()),
                Err(FetchError::Stopped) => Err(End::ShutDown),
                Err(error) => Err(words(&error).into()),
            },
            reason = self.keep_books(caller, task, &percent) => Err(reason.into()),
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
        (file, content): (&Path, Content),
        outlook: Outlook,
        place: &Place,
    ) -> Result<(), String> {
        let _slot = place.conversion().await.map_err(|error| error.to_string())?;
        self.note(caller, task, FETCHED_PERCENT, "converting").await;
        let _sealing = self.sealing.read().await;
        let limits = self.limits_now()?;
        let stored = self.store.import_as(content, file, &limits, None).await;
        let stored = stored.map_err(|error| words(&error))?;
        let imported = imported(stored, outlook);
        let complete = || self.cloud.complete_import(caller, task, imported.clone());
        written(complete).await.map_err(|error| words(&error))?;
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

fn content(asked: UploadContent) -> Content {
    match asked {
        UploadContent::Bootable => Content::Bootable,
        UploadContent::Data => Content::Data,
        UploadContent::Raw => Content::Raw,
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

/// Offers an import's end to the books until they have time and room for it: nobody would tell it later,
/// and hours of work hang on it.
async fn written<T, F>(end: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let (shortest, longest) = PAUSES;
    let pauses = ExponentialBuilder::default()
        .with_min_delay(shortest)
        .with_max_delay(longest)
        .with_jitter()
        .without_max_times();
    end.retry(pauses).when(|error| matches!(error, Error::Busy | Error::Unavailable { .. })).await
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
    async fn import_url(&self, caller: &Caller, import: UrlImport) -> Result<ImportTask, Error> {
        let UrlImport { url, description, tags, token } = import;
        // Before a place is asked for: a repeat needs none.
        if let Some(task) = self.importer.cloud.repeated_import(caller, token.as_ref()).await? {
            return Ok(task);
        }
        let source = checked_url(&url)?;
        let place = self.importer.enter(caller)?;
        let request = ImportRequest { name: None, description, source, public: false, tags, token };
        let begun = self.importer.cloud.begin_import(caller, request).await?;
        if !begun.repeated {
            let outlook = Outlook { login_user: DEFAULT_LOGIN_USER.into(), public: false };
            self.importer.start(caller.clone(), begun.task.id, Source::Url(url), outlook, place);
        }
        Ok(begun.task)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tepui_db::DbError;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_imports_end_is_written_down_once_the_books_have_time_and_room() {
        let tries = Cell::new(0);
        let busy_first = || {
            tries.set(tries.get() + 1);
            std::future::ready(match tries.get() {
                ..25 => Err(Error::Busy),
                25..50 => Err(Error::from(DbError::Full)),
                _ => Ok(()),
            })
        };
        written(busy_first).await.unwrap();
        assert_eq!(tries.get(), 50);
        let gone = written(|| std::future::ready(Err::<(), _>(Error::DryRunOk))).await;
        assert!(matches!(gone, Err(Error::DryRunOk)), "tried once: {gone:?}");
    }
}
