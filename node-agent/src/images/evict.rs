//! Which images to evict.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A file of the cache.
#[derive(Debug, Clone)]
pub(super) struct Cached {
    path: PathBuf,
    /// What it takes on disk: images are sparse.
    bytes: u64,
    /// By the wall clock: good enough to tell which goes first, and not to tell whether it may.
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
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A download that nobody goes on with is of no use, however much room there is.
    fn is_partial(&self) -> bool {
        self.path.extension().is_some()
    }
}

/// Of the files whose grace is `over`: forgotten downloads, then the longest unused image first, until the
/// rest fits.
pub(super) fn choose(cached: &[Cached], over: &BTreeSet<PathBuf>, max_bytes: u64) -> Vec<PathBuf> {
    let mut total: u64 = cached.iter().map(|image| image.bytes).sum();
    let mut candidates: Vec<&Cached> = cached.iter().filter(|image| over.contains(&image.path)).collect();
    candidates.sort_by_key(|image| (!image.is_partial(), image.used));
    let mut chosen = Vec::new();
    for image in candidates {
        if total <= max_bytes && !image.is_partial() {
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

    fn cached(name: &str, hours_ago: u32) -> Cached {
        let used = SystemTime::UNIX_EPOCH + HOUR * 1000 - HOUR * hours_ago;
        Cached { path: PathBuf::from(name), bytes: 10, used }
    }

    fn all(cached: &[Cached]) -> BTreeSet<PathBuf> {
        cached.iter().map(|image| image.path.clone()).collect()
    }

    #[test]
    fn the_longest_unused_goes_first_and_only_until_the_rest_fits() {
        let cached = [cached("new", 2), cached("old", 9), cached("middle", 5)];
        assert_eq!(choose(&cached, &all(&cached), 20), [PathBuf::from("old")]);
    }

    #[test]
    fn a_download_that_nobody_goes_on_with_goes_although_there_is_room() {
        let cached = [cached("old", 9), cached("a.part", 2), cached("b.part", 0)];
        let over = BTreeSet::from(["old", "a.part"].map(PathBuf::from));
        assert_eq!(choose(&cached, &over, 1000), [PathBuf::from("a.part")]);
    }

    #[test]
    fn an_image_whose_grace_is_not_over_stays_although_the_cache_is_full() {
        let cached = [cached("used", 9), cached("fresh", 0)];
        assert_eq!(choose(&cached, &BTreeSet::new(), 0), [] as [PathBuf; 0]);
    }
}
