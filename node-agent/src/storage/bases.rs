//! Brings images into pools, beside all else that is done there: it may take minutes, and a volume or snapshot that
//! begins with an image that is there takes milliseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tepui_storage::{Copying, Pool, PoolError};
use tepui_types::agent::{
    SnapshotPart, StoragePart, StoredState, VolumeImage, VolumePart, WantedSnapshot, WantedVolume,
};
use tepui_types::{Digest, PoolId};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::stored::is_permanent;
use crate::images::{ImageCache, ImageError};
use crate::plan::retry_delay;
use crate::unused::Unused;

/// A base that nothing waits for stays for so long: the next volume is likely to begin with the same image.
const GRACE: Duration = Duration::from_secs(24 * 3600);

/// Shown progress is a multiple of so many percent: each change is a report and a line in the log.
const SHOWN_PERCENT: u64 = 10;

/// A pool, and an image with the length that it is said to have.
pub(super) type Key = (PoolId, Digest, u64);

/// The bases that are being made.
pub(super) struct Bases {
    images: Arc<ImageCache>,
    works: Mutex<BTreeMap<Key, Work>>,
    unused: Mutex<Unused>,
    ended: Arc<Notify>,
}

/// One base that is being made, or could not be.
struct Work {
    /// How often it was tried before.
    tries: u32,
    copying: Arc<Copying>,
    outcome: Arc<OnceLock<Outcome>>,
}

struct Outcome {
    at: Instant,
    result: Result<(), BaseError>,
}

/// Why a pool does not have an image.
#[derive(Debug, thiserror::Error)]
enum BaseError {
    #[error("image {digest} is not here")]
    Image {
        digest: Digest,
        #[source]
        source: Arc<ImageError>,
    },
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error("nobody waits for the image any more")]
    GivenUp,
}

impl BaseError {
    fn is_permanent(&self) -> bool {
        match self {
            Self::Image { source, .. } => source.is_permanent(),
            Self::Pool(error) => is_permanent(error),
            Self::GivenUp => false,
        }
    }
}

impl Bases {
    pub(super) fn new(images: Arc<ImageCache>) -> Self {
        Self { images, works: Mutex::default(), unused: Mutex::default(), ended: Arc::default() }
    }

    /// Begins to bring an image into a pool that does not have it, if that is not under way; how it is with what
    /// waits for it.
    pub(super) fn want(&self, id: PoolId, pool: &Arc<Pool>, image: VolumeImage) -> StoredState {
        let mut works = self.lock();
        let work = works.entry((id, image.digest, image.bytes)).or_insert_with(|| self.begin(pool, image, 0));
        if let Some(tries) = work.next_try() {
            *work = self.begin(pool, image, tries);
        }
        match work.outcome.get().map(|outcome| &outcome.result) {
            Some(Err(error)) => {
                StoredState::Failed { message: crate::chain(error), permanent: error.is_permanent() }
            }
            Some(Ok(())) | None => StoredState::Awaited { message: self.awaited(image, work) },
        }
    }

    fn begin(&self, pool: &Arc<Pool>, image: VolumeImage, tries: u32) -> Work {
        let work = Work { tries, copying: Arc::default(), outcome: Arc::default() };
        let (copying, outcome, ended) =
            (Arc::clone(&work.copying), Arc::clone(&work.outcome), Arc::clone(&self.ended));
        // A pool that is let go of meanwhile is another's to open.
        let (images, pool) = (Arc::clone(&self.images), Arc::downgrade(pool));
        tokio::spawn(async move {
            let result = bring(&images, pool, image, copying).await;
            outcome.get_or_init(|| Outcome { at: Instant::now(), result });
            ended.notify_one();
        });
        work
    }

    fn awaited(&self, image: VolumeImage, work: &Work) -> String {
        let shown = |percent: u64| percent / SHOWN_PERCENT * SHOWN_PERCENT;
        let digest = image.digest;
        if let copied @ 1.. = work.copying.done() {
            let percent = shown(copied.saturating_mul(100) / image.bytes.max(1));
            return format!("waits for the image {digest}, which is copied into its pool: {percent} %");
        }
        match self.images.percent(digest) {
            Some(percent) => {
                format!("waits for the image {digest}, which is on its way: {} %", shown(percent.into()))
            }
            None => format!("waits for the image {digest}"),
        }
    }

    /// Returns when an image has come into a pool, or could not.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }

    /// Gives up what is under way in a pool that is let go of.
    pub(super) fn let_go(&self, id: PoolId) {
        self.retain(|(pool, ..)| *pool != id);
    }

    /// Gives up copies for which nothing waits any more (a download goes on to its end), and removes bases of which nothing
    /// has made use for a day.
    pub(super) async fn tidy(self: &Arc<Self>, part: &StoragePart, pools: BTreeMap<PoolId, Arc<Pool>>) {
        let awaited: BTreeSet<Key> = awaited(part).collect();
        self.retain(|key| awaited.contains(key));
        let bases = Arc::clone(self);
        let removal = move || bases.remove_unused(&pools, &awaited);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(removal).await {
            tracing::warn!(message = crate::chain(&error), "the unused images of a pool stay");
        }
    }

    fn remove_unused(
        &self,
        pools: &BTreeMap<PoolId, Arc<Pool>>,
        awaited: &BTreeSet<Key>,
    ) -> Result<(), PoolError> {
        let mut idle: BTreeMap<PathBuf, (&Arc<Pool>, Digest)> = BTreeMap::new();
        for (id, pool) in pools {
            let is_awaited =
                |digest: Digest| awaited.iter().any(|(pool, image, _)| pool == id && *image == digest);
            match idle_bases(pool, is_awaited) {
                Ok(bases) => idle.extend(bases.into_iter().map(|(path, digest)| (path, (pool, digest)))),
                // The other pools are tidied all the same.
                Err(error) => tracing::warn!(
                    pool = %id,
                    message = crate::chain(&error),
                    "the unused images of a pool stay"
                ),
            }
        }
        let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        let over = unused.look(idle.keys().cloned(), Instant::now(), GRACE);
        drop(unused);
        for (pool, digest) in over.iter().filter_map(|path| idle.get(path)) {
            tracing::info!(image = %digest, "removing an image from a pool that nothing made use of for a day");
            pool.drop_base(*digest)?;
        }
        Ok(())
    }

    fn retain(&self, keeps: impl Fn(&Key) -> bool) {
        self.lock().retain(|key, work| {
            let stays = keeps(key);
            if !stays {
                work.copying.give_up();
            }
            stays
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Work>> {
        self.works.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the process waits for copies that are under way.
impl Drop for Bases {
    fn drop(&mut self) {
        self.retain(|_| false);
    }
}

impl Work {
    /// Which try is due, if one is.
    fn next_try(&self) -> Option<u32> {
        let outcome = self.outcome.get()?;
        match &outcome.result {
            // It was there, and somebody took it away.
            Ok(()) => Some(0),
            Err(error) if error.is_permanent() => None,
            Err(_) => {
                let tries = self.tries.saturating_add(1);
                (outcome.at.elapsed() >= retry_delay(tries)).then_some(tries)
            }
        }
    }
}

async fn bring(
    images: &ImageCache,
    pool: Weak<Pool>,
    image: VolumeImage,
    copying: Arc<Copying>,
) -> Result<(), BaseError> {
    let digest = image.digest;
    let ensured = images.ensure(digest, image.bytes).await;
    ensured.map_err(|source| BaseError::Image { digest, source })?;
    let path = images.path(digest);
    let make = move || {
        let pool = pool.upgrade().filter(|_| !copying.is_given_up()).ok_or(BaseError::GivenUp)?;
        pool.make_base(image, &path, &copying)?;
        Ok(())
    };
    tokio::task::spawn_blocking(make).await.unwrap_or(Err(BaseError::GivenUp))
}

/// The bases of a pool for which nothing waits.
fn idle_bases(pool: &Pool, is_awaited: impl Fn(Digest) -> bool) -> Result<Vec<(PathBuf, Digest)>, PoolError> {
    let mut idle = Vec::new();
    for digest in pool.bases()?.into_iter().filter(|digest| !is_awaited(*digest)) {
        idle.extend(pool.base(digest)?.map(|base| (base.path, digest)));
    }
    Ok(idle)
}

/// The image that a volume needs that was not made yet.
fn of_volume(volume: &WantedVolume) -> Option<Key> {
    match volume.wanted {
        VolumePart::Present { image: Some(image), made: false, .. } => {
            Some((volume.pool_id, image.digest, image.bytes))
        }
        VolumePart::Present { .. } | VolumePart::Absent => None,
    }
}

/// The image that a snapshot needs that was not made yet.
fn of_snapshot(snapshot: &WantedSnapshot) -> Option<Key> {
    match snapshot.wanted {
        SnapshotPart::Present { image: Some(image), taken: false, .. } => {
            Some((snapshot.pool_id, image.content.digest, image.content.bytes))
        }
        SnapshotPart::Present { .. } | SnapshotPart::Absent => None,
    }
}

/// What is needed for that which a part wants and that was not made yet.
pub(super) fn awaited(part: &StoragePart) -> impl Iterator<Item = Key> {
    let snapshots = part.snapshots.iter().filter_map(of_snapshot);
    part.volumes.iter().filter_map(of_volume).chain(snapshots)
}

/// The images that volumes and snapshots of a part need that were not made yet.
pub(crate) fn awaited_images(part: &StoragePart) -> impl Iterator<Item = Digest> {
    awaited(part).map(|(_, digest, _)| digest)
}

#[cfg(test)]
mod tests {
    use tepui_types::agent::{SnapshotImage, SnapshotSource};
    use tepui_types::{SnapshotId, VolumeId};

    use super::*;

    #[test]
    fn an_image_is_kept_for_what_is_not_made_of_it_and_for_nothing_else() {
        let image = |text: &[u8]| Some(VolumeImage { digest: Digest::of(text), bytes: 4096 });
        let present =
            |image, snapshot_id, made| VolumePart::Present { size_bytes: 4096, snapshot_id, image, made };
        let snapshot = Some(SnapshotId::from_random(1));
        let parts = [
            present(image(b"awaited"), None, false),
            present(image(b"made"), None, true),
            present(None, snapshot, false),
            present(None, None, false),
            VolumePart::Absent,
        ];
        let (id, pool_id) = (VolumeId::from_random(1), PoolId::from_random(1));
        let volumes = parts.into_iter().map(|wanted| WantedVolume { id, pool_id, wanted }).collect();
        let part = StoragePart { volumes, ..StoragePart::default() };
        assert_eq!(awaited_images(&part).collect::<Vec<_>>(), [Digest::of(b"awaited")]);

        let of = |text: &[u8]| image(text).map(|content| SnapshotImage { content, size_bytes: 4096 });
        let copy_of = Some(SnapshotSource { snapshot_id: SnapshotId::from_random(1), pool_id });
        let present = |image, copy_of, taken| SnapshotPart::Present { volume_id: id, copy_of, image, taken };
        let parts = [
            present(of(b"awaited"), None, false),
            present(of(b"taken"), None, true),
            present(None, copy_of, false),
            present(None, None, false),
            SnapshotPart::Absent,
        ];
        let id = SnapshotId::from_random(1);
        let snapshots = parts.into_iter().map(|wanted| WantedSnapshot { id, pool_id, wanted }).collect();
        let part = StoragePart { snapshots, ..StoragePart::default() };
        assert_eq!(awaited_images(&part).collect::<Vec<_>>(), [Digest::of(b"awaited")]);
    }
}
