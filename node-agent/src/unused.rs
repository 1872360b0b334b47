//! For how long files have seemed unused, by a clock that nobody sets: the wall clock may jump by days, and it is
//! all that the times of a file tell. So a file counts from the first look that found it unused. An agent that
//! starts begins anew, and what is of no use stays a grace longer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

/// Files that seemed unused at the last look, and since when.
#[derive(Debug, Default)]
pub(crate) struct Unused(BTreeMap<PathBuf, Instant>);

impl Unused {
    /// Takes what a look found unused; tells which of it has been so for the whole grace.
    pub(crate) fn look(
        &mut self,
        found: impl IntoIterator<Item = PathBuf>,
        now: Instant,
        grace: Duration,
    ) -> BTreeSet<PathBuf> {
        let before = std::mem::take(&mut self.0);
        let since = |path: PathBuf| {
            let since = before.get(&path).copied().unwrap_or(now);
            (path, since)
        };
        self.0 = found.into_iter().map(since).collect();
        let is_over = |(_, since): &(&PathBuf, &Instant)| now.duration_since(**since) >= grace;
        self.0.iter().filter(is_over).map(|(path, _)| path.clone()).collect()
    }

    /// The file was used just now.
    pub(crate) fn used(&mut self, path: &Path) {
        self.0.remove(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_file_is_over_after_a_grace_in_which_nobody_used_it() {
        let (mut unused, start) = (Unused::default(), Instant::now());
        let (a, b) = (PathBuf::from("a"), PathBuf::from("b"));
        let mut look = |files: &[&PathBuf], at| {
            let found = files.iter().map(|path| (*path).clone());
            unused.look(found, start + at, HOUR).into_iter().collect::<Vec<_>>()
        };
        let nothing: [PathBuf; 0] = [];
        assert_eq!(look(&[&a, &b], Duration::ZERO), nothing);
        assert_eq!(look(&[&a], HOUR / 2), nothing, "b is in use");
        assert_eq!(look(&[&a, &b], HOUR), std::slice::from_ref(&a));
        assert_eq!(look(&[&a, &b], HOUR + HOUR / 2), std::slice::from_ref(&a));
        assert_eq!(look(&[&a, &b], HOUR * 2), [a.clone(), b.clone()]);
        unused.used(&a);
        assert_eq!(unused.look([a, b.clone()], start + HOUR * 2, HOUR), BTreeSet::from([b]));
    }
}
