use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::AtomicUsize;

use futures::StreamExt;
use futures::stream;
use tokio::sync::Notify;

use super::*;

const LIMITS: CacheLimits = CacheLimits { max_bytes: 0, grace: Duration::ZERO };

/// Sends `content` in pieces, and breaks off after `breaks_after` bytes of each transfer.
struct Source {
    content: Vec<u8>,
    breaks_after: usize,
    opened: AtomicUsize,
    sent: Arc<AtomicUsize>,
    gate: Option<Arc<Notify>>,
}

impl Source {
    fn new(content: Vec<u8>) -> Self {
        let sent = Arc::default();
        Self { content, breaks_after: usize::MAX, opened: AtomicUsize::new(0), sent, gate: None }
    }
}

fn broken() -> LinkError {
    LinkError::Range(0)
}

#[async_trait]
impl ImageSource for Source {
    async fn open(
        &self,
        _: Digest,
        from: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, LinkError>>, LinkError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        let rest = &self.content[usize::try_from(from).unwrap()..];
        let (now, later) = rest.split_at(rest.len().min(self.breaks_after));
        let mut pieces: Vec<_> = now.chunks(100_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        if !later.is_empty() {
            pieces.push(Err(broken()));
        }
        let sent = Arc::clone(&self.sent);
        let count = move |piece: &Result<Bytes, LinkError>| {
            sent.fetch_add(piece.as_ref().map_or(0, Bytes::len), Ordering::SeqCst);
        };
        Ok(stream::iter(pieces).inspect(count).boxed())
    }
}

/// A megabyte with a hole in the middle and one at the end.
fn content() -> Vec<u8> {
    let mut content: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    content[300_000..700_000].fill(0);
    content[900_000..].fill(0);
    content
}

fn cache(dir: &Path, source: &Arc<Source>) -> ImageCache {
    ImageCache::open(dir, LIMITS, Arc::clone(source) as Arc<dyn ImageSource>).unwrap()
}

#[tokio::test]
async fn an_image_arrives_verified_sealed_and_sparse() {
    let dir = tempfile::tempdir().unwrap();
    let source = Arc::new(Source::new(content()));
    let cache = cache(dir.path(), &source);
    let digest = Digest::of(&source.content);
    cache.ensure(digest, 1_000_000).await.unwrap();
    assert_eq!(std::fs::read(cache.path(digest)).unwrap(), source.content);
    let metadata = std::fs::metadata(cache.path(digest)).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o444);
    assert!(metadata.blocks() * 512 < 800_000, "{} blocks", metadata.blocks());
    cache.ensure(digest, 1_000_000).await.unwrap();
    assert_eq!(source.opened.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn fifty_at_once_share_one_download() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new(Notify::new());
    let source = Arc::new(Source { gate: Some(Arc::clone(&gate)), ..Source::new(content()) });
    let cache = Arc::new(cache(dir.path(), &source));
    let digest = Digest::of(&source.content);
    let waiting = futures::future::join_all((0..50).map(|_| cache.ensure(digest, 1_000_000)));
    gate.notify_one();
    for result in waiting.await {
        result.unwrap();
    }
    assert_eq!(source.opened.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_download_that_broke_off_goes_on_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let source = Arc::new(Source { breaks_after: 650_000, ..Source::new(content()) });
    let digest = Digest::of(&source.content);
    let error = cache(dir.path(), &source).ensure(digest, 1_000_000).await.unwrap_err();
    assert!(matches!(*error, ImageError::Source { received: 650_000, .. }), "{error:?}");
    assert!(!error.is_permanent());
    let after_restart = cache(dir.path(), &source);
    after_restart.ensure(digest, 1_000_000).await.unwrap();
    assert_eq!(std::fs::read(after_restart.path(digest)).unwrap(), source.content);
    assert_eq!(source.sent.load(Ordering::SeqCst), 1_000_000, "nothing was sent twice");
}

#[tokio::test]
async fn a_truncated_image_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let source = Arc::new(Source::new(content()));
    let cache = cache(dir.path(), &source);
    let digest = Digest::of(&source.content);
    let error = cache.ensure(digest, 1_000_001).await.unwrap_err();
    assert!(matches!(*error, ImageError::Length { received: 1_000_000, wanted: 1_000_001 }), "{error:?}");
    assert!(!cache.path(digest).exists());
}

#[tokio::test]
async fn an_image_that_never_ends_is_cut_off_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let source = Arc::new(Source::new(content()));
    let cache = cache(dir.path(), &source);
    let error = cache.ensure(Digest::of(b"short"), 200_000).await.unwrap_err();
    assert!(error.is_permanent(), "{error:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn other_content_is_refused_for_good_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let source = Arc::new(Source::new(content()));
    let cache = cache(dir.path(), &source);
    let error = cache.ensure(Digest::of(b"other"), 1_000_000).await.unwrap_err();
    assert!(error.is_permanent(), "{error:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_part_that_was_damaged_here_is_fetched_anew() {
    let dir = tempfile::tempdir().unwrap();
    let source = Arc::new(Source::new(content()));
    let cache = cache(dir.path(), &source);
    let digest = Digest::of(&source.content);
    std::fs::write(cache.path(digest).with_added_extension("part"), b"damaged").unwrap();
    let error = cache.ensure(digest, 1_000_000).await.unwrap_err();
    assert!(matches!(*error, ImageError::Digest { resumed: true, .. }), "{error:?}");
    assert!(!error.is_permanent());
    cache.ensure(digest, 1_000_000).await.unwrap();
}

#[tokio::test]
async fn only_an_image_that_nothing_uses_is_evicted() {
    let dir = tempfile::tempdir().unwrap();
    let source = Arc::new(Source::new(content()));
    let cache = cache(dir.path(), &source);
    let digest = Digest::of(&source.content);
    cache.ensure(digest, 1_000_000).await.unwrap();
    cache.evict(BTreeSet::from([cache.path(digest)])).unwrap();
    assert!(cache.path(digest).exists());
    cache.evict(BTreeSet::new()).unwrap();
    assert!(!cache.path(digest).exists());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_by_days_evicts_nothing_early_and_keeps_nothing_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let source = Arc::new(Source::new(content()));
    let hour = Duration::from_secs(3600);
    let limits = CacheLimits { max_bytes: 0, grace: hour };
    let cache = ImageCache::open(dir.path(), limits, Arc::clone(&source) as Arc<dyn ImageSource>).unwrap();
    let digest = Digest::of(&source.content);
    cache.ensure(digest, 1_000_000).await.unwrap();
    let paths = [cache.path(digest), cache.path(Digest::of(b"other")).with_added_extension("part")];
    std::fs::write(&paths[1], b"half").unwrap();
    let (now, days) = (SystemTime::now(), hour * 240);
    for time in [now - days, now + days] {
        for path in &paths {
            std::fs::File::open(path).unwrap().set_modified(time).unwrap();
        }
        cache.evict(BTreeSet::new()).unwrap();
        assert!(paths.iter().all(|path| path.exists()));
    }
    tokio::time::advance(hour).await;
    cache.evict(BTreeSet::new()).unwrap();
    assert!(paths.iter().all(|path| !path.exists()));
}
