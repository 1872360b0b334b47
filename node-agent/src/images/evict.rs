//! Which images to evict.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::CacheLimits;

/// A file of the cache.
#[derive(Debug, Clone)]
pub(super) struct Cached {
    path: PathBuf,
    /// What it takes on disk: images are sparse.
    bytes: u64,
    used: SystemTime,
}

/// What the cache holds, downloads in progress too: one that nobody goes on with is garbage as well.
pub(super) fn list(dir: &Path) -> io::Result<Vec<Cached>> {
    let mut cached = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let used = metadata.modified()?;
        cached.push(Cached { path: entry.path(), bytes: metadata.blocks() * 512, used });
    }
    Ok(cached)
}

impl Cached {
    /// A download that nobody goes on with is of no use, however much room there is.
    fn is_partial(&self) -> bool {
        self.path.extension().is_some()
    }
}

/// Forgotten downloads; then the longest unused image first, until the rest fits.
pub(super) fn choose(
    cached: &[Cached],
    in_use: &BTreeSet<PathBuf>,
    limits: CacheLimits,
    now: SystemTime,
) -> Vec<PathBuf> {
    let mut total: u64 = cached.iter().map(|image| image.bytes).sum();
    let mut candidates: Vec<&Cached> = cached
        .iter()
        .filter(|image| !in_use.contains(&image.path))
        .filter(|image| now.duration_since(image.used).is_ok_and(|age| age >= limits.grace))
        .collect();
    candidates.sort_by_key(|image| (!image.is_partial(), image.used));
    let mut chosen = Vec::new();
    for image in candidates {
        if total <= limits.max_bytes && !image.is_partial() {
            break;
        }
        total -= image.bytes;
        chosen.push(image.path.clone());
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn cached(name: &str, hours_ago: u32, now: SystemTime) -> Cached {
        Cached { path: PathBuf::from(name), bytes: 10, used: now - HOUR * hours_ago }
    }

    #[test]
    fn the_longest_unused_goes_first_and_only_until_the_rest_fits() {
        let now = SystemTime::UNIX_EPOCH + HOUR * 1000;
        let all = [cached("new", 2, now), cached("old", 9, now), cached("middle", 5, now)];
        let limits = CacheLimits { max_bytes: 20, grace: HOUR };
        assert_eq!(choose(&all, &BTreeSet::new(), limits, now), [PathBuf::from("old")]);
    }

    #[test]
    fn a_download_that_nobody_goes_on_with_goes_although_there_is_room() {
        let now = SystemTime::UNIX_EPOCH + HOUR * 1000;
        let all = [cached("old", 9, now), cached("a.part", 2, now), cached("b.part", 0, now)];
        let limits = CacheLimits { max_bytes: 1000, grace: HOUR };
        assert_eq!(choose(&all, &BTreeSet::new(), limits, now), [PathBuf::from("a.part")]);
        let running = BTreeSet::from([PathBuf::from("a.part")]);
        assert_eq!(choose(&all, &running, limits, now), [] as [PathBuf; 0]);
    }

    #[test]
    fn an_image_in_use_or_within_the_grace_stays_although_the_cache_is_full() {
        let now = SystemTime::UNIX_EPOCH + HOUR * 1000;
        let all = [cached("used", 9, now), cached("fresh", 0, now)];
        let limits = CacheLimits { max_bytes: 0, grace: HOUR };
        assert_eq!(choose(&all, &BTreeSet::from([PathBuf::from("used")]), limits, now), [] as [PathBuf; 0]);
    }
}
