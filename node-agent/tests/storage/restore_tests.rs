//! Tests of snapshots: beside everything else, one at a time, and each reported until it is not wanted any more.

use std::fs::OpenOptions;
use std::path::Path;

use tepui_types::SnapshotTestId;
use tepui_types::agent::{TestOutcome, WantedTest};

use super::*;

impl Host {
    fn order(&mut self, test: u128, of: u128) {
        let id = SnapshotTestId::from_random(test);
        self.part.tests.push(WantedTest { id, pool_id: pool_id(), snapshot_id: snapshot(of) });
    }

    /// A volume of 16 MiB, and snapshots of it with these numbers.
    fn snapshots(&mut self, path: &Path, numbers: &[u128]) {
        self.want_volume(1, present(16));
        self.apply();
        let disk = path.join(format!("pool/volumes/{}/disk.raw", volume(1)));
        OpenOptions::new().write(true).open(disk).unwrap().write_all_at(&[7; 4096], 4096).unwrap();
        for number in numbers {
            let taken =
                SnapshotPart::Present { volume_id: volume(1), copy_of: None, image: None, taken: false };
            self.want_snapshot(*number, pool_id(), taken);
        }
        self.apply();
    }
}

fn outcomes(seen: &StorageObserved) -> Vec<(SnapshotTestId, &TestOutcome)> {
    seen.tests.iter().map(|one| (one.id, &one.outcome)).collect()
}

#[test]
fn tests_are_made_one_after_the_other_and_told_until_they_are_not_wanted_any_more() {
    host(|host, path| {
        host.snapshots(path, &[1, 2]);
        host.order(1, 1);
        host.order(2, 2);
        host.order(3, 9);
        assert_eq!(host.apply_once().tests, [], "nothing waits for a test");
        let seen = host.until(|seen| seen.tests.len() == 3);
        let found = outcomes(&seen);
        let TestOutcome::Read { digest } = found[0].1 else { panic!("{found:?}") };
        assert_eq!(found[1].1, &TestOutcome::Read { digest: *digest }, "they hold the same");
        assert!(
            matches!(found[2].1, TestOutcome::Failed { message } if message.contains("has no")),
            "{found:?}"
        );
        assert_eq!(host.apply().tests, seen.tests, "until the control plane has heard of it");
        assert_eq!(std::fs::read_dir(path.join("pool/tmp")).unwrap().count(), 0);

        let file = path.join(format!("pool/snapshots/{}/disk.raw", snapshot(1)));
        OpenOptions::new().write(true).open(file).unwrap().write_all_at(&[8; 1], 5000).unwrap();
        host.part.tests.clear();
        assert_eq!(host.apply().tests, []);
        host.order(4, 1);
        let seen = host.until(|seen| seen.tests.len() == 1);
        let outcome = outcomes(&seen)[0].1;
        assert!(matches!(outcome, TestOutcome::Read { digest: now } if now != digest), "{outcome:?}");
    });
}

#[test]
fn a_test_that_is_cut_off_is_begun_anew_and_one_that_is_not_wanted_is_called_off() {
    host(|host, path| {
        host.snapshots(path, &[1]);
        host.order(1, 1);
        host.apply_once();
        host.restart();
        host.until(|seen| seen.tests.len() == 1);

        // A pool that is opened anew takes the test from under itself, and is not held up by it.
        host.order(2, 1);
        host.apply_once();
        host.part.pools[0].hard_percent = 94;
        let seen = host.until(|seen| seen.tests.len() == 2);
        assert!(matches!(seen.pools[0].state, PoolState::Ready { .. }), "{seen:?}");
        host.order(3, 1);
        host.apply_once();
        host.part.tests.clear();
        host.order(4, 1);
        let seen = host.until(|seen| !seen.tests.is_empty());
        assert_eq!(outcomes(&seen)[0].0, SnapshotTestId::from_random(4));
    });
}

#[test]
fn no_test_begins_while_a_snapshot_is_copied() {
    two_pools(|host, _| {
        host.want_snapshot(4, COLD, copied(false));
        host.order(1, 2);
        host.apply_once();
        // What has ended is the copy.
        host.runtime.block_on(host.pools.arrived());
        let seen = host.apply_once();
        assert!(seen_of(&seen, 4).is_some(), "{seen:?}");
        assert_eq!(seen.tests, []);
        host.until(|seen| seen.tests.len() == 1);
    });
}
