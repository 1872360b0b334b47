//! Volumes and snapshots that begin with an image, which comes from the control plane.

use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tepui_agent::images::{CacheLimits, ImageCache, ImageSource};
use tepui_agent::link::LinkError;
use tepui_agent::storage::Storage as _;
use tepui_types::agent::{
    ExportState, PoolState, SnapshotImage, SnapshotPart, SnapshotSource, StorageObserved, StoredState,
    VolumeImage, VolumePart,
};
use tepui_types::{Digest, failpoint};
use tokio::sync::Notify;

use super::support::lab::PATIENCE;
use super::support::{MIB, snapshot, volume};
use super::{Host, host, open, pool_id, present, seen_of, walk};

const DAY: Duration = Duration::from_secs(24 * 3600);
const LIMITS: CacheLimits = CacheLimits { max_bytes: 1 << 30, grace: DAY };

/// The control plane: one image, of which the second half may be held back.
#[derive(Default)]
pub(crate) struct Source {
    content: Mutex<Vec<u8>>,
    opened: AtomicUsize,
    holds_back: AtomicBool,
    go_on: Arc<Notify>,
}

#[async_trait]
impl ImageSource for Source {
    async fn open(
        &self,
        _: Digest,
        from: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, LinkError>>, LinkError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let content = self.content.lock().unwrap().clone();
        let rest = content.get(usize::try_from(from).unwrap()..).unwrap();
        let half = if from == 0 { content.len() / 2 } else { 0 };
        let (now, later) = (Bytes::copy_from_slice(&rest[..half]), Bytes::copy_from_slice(&rest[half..]));
        let gate = self.holds_back.load(Ordering::SeqCst).then(|| Arc::clone(&self.go_on));
        let later = async move {
            if let Some(gate) = gate {
                gate.notified().await;
            }
            Ok(later)
        };
        Ok(stream::iter([Ok(now)]).chain(stream::once(later)).boxed())
    }
}

impl Source {
    fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    fn go_on(&self) {
        self.holds_back.store(false, Ordering::SeqCst);
        self.go_on.notify_waiters();
    }
}

pub(crate) fn cache(path: &Path, source: &Arc<Source>) -> Arc<ImageCache> {
    Arc::new(ImageCache::open(path, LIMITS, Arc::clone(source) as Arc<dyn ImageSource>).unwrap())
}

/// Gives the control plane an image of two MiB.
fn publish(host: &Host) -> VolumeImage {
    let mut content = vec![1; 2 << 20];
    content[1 << 20..].fill(2);
    let image = VolumeImage { digest: Digest::of(&content), bytes: content.len() as u64 };
    *host.source.content.lock().unwrap() = content;
    image
}

fn with(image: VolumeImage, mib: u64, made: bool) -> VolumePart {
    VolumePart::Present { size_bytes: mib * MIB, snapshot_id: None, image: Some(image), made }
}

fn state(seen: &StorageObserved, number: u128) -> StoredState {
    seen.volumes.iter().find(|one| one.id == volume(number)).unwrap().state.clone()
}

fn there(mib: u64) -> StoredState {
    StoredState::Present { size_bytes: mib * MIB }
}

/// Why a volume is not there, and whether that is for good.
fn failure(state: StoredState) -> (String, bool) {
    match state {
        StoredState::Failed { message, permanent } => (message, permanent),
        StoredState::Present { .. } | StoredState::Awaited { .. } | StoredState::Gone => panic!("{state:?}"),
    }
}

impl Host {
    /// Applies until the volume is in a state that will do.
    fn apply_until(&self, number: u128, will_do: impl Fn(&StoredState) -> bool) -> StoredState {
        let begun = Instant::now();
        loop {
            let seen = state(&self.apply(), number);
            if will_do(&seen) {
                return seen;
            }
            assert!(begun.elapsed() < PATIENCE, "{seen:?}");
        }
    }

    /// As the keeper does: it looks again when something has come.
    fn wait_for_arrival(&self) {
        let arrived = async { tokio::time::timeout(PATIENCE, self.pools.arrived()).await.unwrap() };
        self.runtime.block_on(arrived);
    }

    fn bases(&self, path: &Path) -> Vec<PathBuf> {
        walk(&path.join("pool/images"))
    }
}

#[test]
fn a_volume_begins_with_its_image_once_that_is_here_and_holds_up_nothing_meanwhile() {
    host(|host, path| {
        let image = publish(host);
        host.source.holds_back.store(true, Ordering::SeqCst);
        for number in [2, 4] {
            host.want_volume(number, with(image, 16, false));
        }
        host.want_volume(1, present(16));
        host.want_export(1, open());
        let seen = host.runtime.block_on(host.pools.apply(&host.part));
        assert_eq!(state(&seen, 1), there(16));
        assert!(matches!(seen.exports[0].state, ExportState::Open { .. }), "{seen:?}");
        let StoredState::Awaited { message } = state(&seen, 2) else { panic!("{seen:?}") };
        assert!(message.starts_with(&format!("waits for the image {}", image.digest)), "{message}");
        let half = |seen: &StoredState| matches!(seen, StoredState::Awaited { message } if message.ends_with("on its way: 50 %"));
        host.apply_until(2, half);

        // Its pool is opened anew meanwhile, and waits for nobody.
        host.part.pools[0].soft_percent += 1;
        let seen = host.runtime.block_on(host.pools.apply(&host.part));
        assert!(matches!(seen.pools[0].state, PoolState::Ready { .. }), "{seen:?}");
        host.source.go_on();
        host.wait_for_arrival();
        for number in [2, 4] {
            host.apply_until(number, |seen| *seen == there(16));
        }
        let disk = path.join("pool/volumes").join(volume(2).to_string()).join("disk.raw");
        let content = std::fs::read(disk).unwrap();
        assert!(content[..2 << 20] == host.source.content.lock().unwrap()[..], "it begins with the image");
        assert!(content[2 << 20..].iter().all(|byte| *byte == 0));

        let [base] = &host.bases(path)[..] else { panic!("{:?}", host.bases(path)) };
        let inode = std::fs::metadata(base).unwrap().ino();
        host.want_volume(3, with(image, 32, false));
        let seen = host.runtime.block_on(host.pools.apply(&host.part));
        assert_eq!(state(&seen, 3), there(32), "the next one is there at once");
        assert_eq!((std::fs::metadata(base).unwrap().ino(), host.source.opened()), (inode, 1));
    });
}

/// A snapshot to be made from an image.
fn holding(image: VolumeImage, mib: u64, taken: bool) -> SnapshotPart {
    let image = Some(SnapshotImage { content: image, size_bytes: mib * MIB });
    SnapshotPart::Present { volume_id: volume(9), copy_of: None, image, taken }
}

#[test]
fn a_snapshot_waits_for_its_image_and_is_then_its_own() {
    host(|host, path| {
        let image = publish(host);
        host.source.holds_back.store(true, Ordering::SeqCst);
        host.want_snapshot(1, pool_id(), holding(image, 16, false));
        host.want_volume(1, present(16));
        let seen = host.apply();
        assert_eq!(state(&seen, 1), there(16), "it holds up nothing");
        let told = seen_of(&seen, 1);
        assert!(matches!(told, Some(StoredState::Awaited { .. })), "{told:?}");
        // The agent ends and goes on where it was.
        host.runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        host.source.go_on();
        host.restart();
        host.until(|seen| seen_of(seen, 1) == Some(&there(16)));
        let disk = path.join("pool/snapshots").join(snapshot(1).to_string()).join("disk.raw");
        let mut content = host.source.content.lock().unwrap().clone();
        content.resize(16 << 20, 0);
        assert!(std::fs::read(&disk).unwrap() == content, "the image, and zeros behind it");

        host.want_snapshot(1, pool_id(), holding(image, 16, true));
        std::fs::remove_dir_all(path.join("pool/images")).unwrap();
        std::fs::create_dir(path.join("pool/images")).unwrap();
        let seen = host.apply();
        assert_eq!(seen_of(&seen, 1), Some(&there(16)));
        assert_eq!(host.bases(path), [] as [PathBuf; 0], "it needs its image no more");
        std::fs::remove_dir_all(disk.parent().unwrap()).unwrap();
        let seen = host.apply();
        let (message, permanent) = failure(seen_of(&seen, 1).unwrap().clone());
        assert!(message.contains("not in the pool any more") && !permanent, "{message}");
        host.want_snapshot(1, pool_id(), SnapshotPart::Absent);
        let seen = host.apply();
        assert_eq!(seen_of(&seen, 1), Some(&StoredState::Gone));
    });
}

#[test]
fn a_snapshot_of_two_origins_or_of_an_image_that_does_not_fit_is_refused_for_good() {
    host(|host, _| {
        let image = publish(host);
        let SnapshotPart::Present { volume_id, image: both, .. } = holding(image, 16, false) else {
            unreachable!()
        };
        let copy_of = Some(SnapshotSource { snapshot_id: snapshot(7), pool_id: pool_id() });
        let wanted = SnapshotPart::Present { volume_id, copy_of, image: both, taken: false };
        host.want_snapshot(1, pool_id(), wanted);
        host.want_snapshot(2, pool_id(), holding(image, 1, false));
        let seen = host.apply();
        for (number, rule) in [(1, "not both"), (2, "cannot hold the image")] {
            let (message, permanent) = failure(seen_of(&seen, number).unwrap().clone());
            assert!(message.contains(rule) && permanent, "{message}");
        }
        assert_eq!(host.source.opened(), 0, "for these none is brought");
    });
}

#[test]
fn an_agent_that_ends_while_an_image_comes_goes_on_where_it_was() {
    host(|host, _| {
        let image = publish(host);
        host.source.holds_back.store(true, Ordering::SeqCst);
        host.want_volume(1, with(image, 16, false));
        let half = |seen: &StoredState| matches!(seen, StoredState::Awaited { message } if message.ends_with("50 %"));
        host.apply_until(1, half);
        host.runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        host.source.go_on();
        host.restart();
        host.apply_until(1, |seen| *seen == there(16));
        for (operation, step) in [("base", "made"), ("base", "synced"), ("begin", "made")] {
            let name = format!("storage::{operation}::{step}");
            std::fs::remove_dir_all(host.images.with_file_name("pool").join("images")).unwrap();
            std::fs::create_dir(host.images.with_file_name("pool").join("images")).unwrap();
            failpoint::arm(&name, failpoint::Effect::Error);
            host.want_volume(2, with(image, 16, false));
            let failed = host.apply_until(
                2,
                |seen| matches!(seen, StoredState::Failed { message, .. } if message.contains("fail point")),
            );
            assert!(matches!(failed, StoredState::Failed { permanent: false, .. }), "{failed:?}");
            failpoint::disarm(&name);
            host.apply_until(2, |seen| *seen == there(16));
            let made = host.images.with_file_name("pool").join("volumes").join(volume(2).to_string());
            std::fs::remove_dir_all(made).unwrap();
        }
    });
}

#[test]
fn an_image_with_other_content_and_one_that_does_not_fit_are_refused_for_good() {
    host(|host, path| {
        let image = publish(host);
        host.want_volume(1, with(image, 1, false));
        let both = Some(snapshot(1));
        let size_bytes = 16 * MIB;
        host.want_volume(
            2,
            VolumePart::Present { size_bytes, snapshot_id: both, image: Some(image), made: false },
        );
        host.want_volume(3, with(VolumeImage { bytes: u64::MAX, ..image }, 16, false));
        let seen = host.apply();
        let (message, permanent) = failure(state(&seen, 1));
        assert!(message.contains("cannot hold the image") && permanent, "{message}");
        let (message, permanent) = failure(state(&seen, 2));
        assert!(message.contains("not both") && permanent, "{message}");
        let (message, permanent) = failure(state(&seen, 3));
        assert!(message.ends_with(&u64::MAX.to_string()) && permanent, "{message}");
        assert_eq!(host.source.opened(), 0, "for these none is brought");

        let other = VolumeImage { digest: Digest::of(b"other"), ..image };
        host.want_volume(4, with(other, 16, false));
        let is_final = |seen: &StoredState| matches!(seen, StoredState::Failed { permanent: true, .. });
        let (message, _) = failure(host.apply_until(4, is_final));
        assert!(message.ends_with(&format!("the content has the digest {}", image.digest)), "{message}");
        host.runtime.block_on(async {
            tokio::time::pause();
            tokio::time::advance(DAY).await;
        });
        host.apply();
        host.apply();
        assert_eq!((host.source.opened(), host.bases(path)), (1, vec![]), "it is not tried again");
    });
}

#[test]
fn a_volume_that_was_made_never_needs_its_image_again() {
    host(|host, path| {
        let image = publish(host);
        host.want_volume(1, with(image, 16, false));
        host.apply_until(1, |seen| *seen == there(16));
        let disk = path.join("pool/volumes").join(volume(1).to_string()).join("disk.raw");
        std::fs::File::options().write(true).open(&disk).unwrap().write_all_at(&[9], 0).unwrap();
        *host.source.content.lock().unwrap() = Vec::new();
        std::fs::remove_dir_all(&host.images).unwrap();
        std::fs::remove_dir_all(path.join("pool/images")).unwrap();
        host.want_volume(1, with(image, 32, true));
        host.restart();
        assert_eq!(state(&host.apply(), 1), there(32), "it grows as any other");
        assert_eq!(std::fs::read(&disk).unwrap()[0], 9);
        std::fs::remove_dir_all(disk.parent().unwrap()).unwrap();
        let (message, permanent) = failure(state(&host.apply(), 1));
        assert!(message.contains("not in the pool any more") && !permanent, "{message}");
        assert_eq!(host.source.opened(), 1);
    });
}

#[test]
fn a_base_goes_after_a_day_in_which_nothing_waited_for_it_and_is_made_anew() {
    host(|host, path| {
        let image = publish(host);
        host.want_volume(1, with(image, 16, false));
        host.apply_until(1, |seen| *seen == there(16));
        let mut part = host.part.clone();
        host.runtime.block_on(async {
            tokio::time::pause();
            let later = async |part: &_, time| {
                host.pools.apply(part).await;
                tokio::time::advance(time).await;
                host.pools.apply(part).await;
                host.bases(path).len()
            };
            assert_eq!(later(&part, DAY).await, 1, "a volume may still need it");
            part.volumes[0].wanted = with(image, 16, true);
            assert_eq!(later(&part, DAY - Duration::from_secs(1)).await, 1);
            assert_eq!(later(&part, Duration::from_secs(1)).await, 0);
        });
        assert_eq!(walk(&path.join("pool/tmp")), [] as [PathBuf; 0]);
        host.part = part;
        host.want_volume(2, with(image, 16, false));
        host.apply_until(2, |seen| *seen == there(16));
        assert_eq!((host.bases(path).len(), host.source.opened()), (1, 1), "of the image that is here still");
    });
}
