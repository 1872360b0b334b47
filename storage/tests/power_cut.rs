//! What is in a pool after its host lost power at any moment.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use support::{BYTES, MIB, XFS, on, pool, snapshot, volume, what_a_power_cut_leaves};
use tepui_storage::Pool;
use tepui_types::failpoint::{Effect, arm, disarm};

const BEFORE_THE_FLUSH: [&str; 2] = ["storage::snapshot::placed", "storage::clone::placed"];
/// How many are made.
const COUNT: u128 = 8;

fn content() -> Vec<u8> {
    (0..3 * MIB).map(|place| (place / 4096 % 251) as u8).collect()
}

/// A volume that was written, and a snapshot of it.
fn begin(path: &Path) -> Pool {
    let folder = path.join("pool");
    fs::create_dir(&folder).unwrap();
    let pool = pool(&folder);
    let made = pool.create_volume(volume(1), 4 * MIB).unwrap();
    let disk = File::options().write(true).open(made.path).unwrap();
    disk.write_all_at(&content(), MIB).unwrap();
    pool.take_snapshot(snapshot(1), volume(1)).unwrap();
    pool
}

/// Makes the next one of each, without the flush.
fn make_without_flush(pool: &Pool, number: u128) {
    BEFORE_THE_FLUSH.iter().for_each(|point| arm(point, Effect::Error));
    pool.take_snapshot(snapshot(number), volume(1)).unwrap_err();
    pool.clone_volume(volume(number), snapshot(1), 8 * MIB).unwrap_err();
    BEFORE_THE_FLUSH.iter().for_each(|point| disarm(point));
}

/// Those that are there, by their numbers: each with all that it holds.
fn left(point: &Path) -> Vec<u128> {
    let is_there = |folder: &str, id: String, bytes: u64| {
        let Ok(found) = fs::read(point.join("pool").join(folder).join(id).join("disk.raw")) else {
            return false;
        };
        let mut whole = vec![0; usize::try_from(bytes).unwrap()];
        whole[1 << 20..4 << 20].copy_from_slice(&content());
        assert!(found == whole, "{folder}: a name without its content");
        true
    };
    let both = |number: &u128| {
        let snapshot = is_there("snapshots", snapshot(*number).to_string(), 4 * MIB);
        let clone = is_there("volumes", volume(*number).to_string(), 8 * MIB);
        assert_eq!(snapshot, clone, "{number}");
        snapshot
    };
    (2..2 + COUNT).filter(both).collect()
}

#[test]
fn what_has_its_name_before_it_is_flushed_is_there_whole_or_not_at_all() {
    on(XFS, BYTES, |path| {
        let pool = begin(path);
        for number in 2..2 + COUNT {
            make_without_flush(&pool, number);
            if number == 5 {
                // Somebody else flushes something else.
                File::create(path.join("other")).unwrap().sync_all().unwrap();
            }
        }
        assert_eq!(what_a_power_cut_leaves(path, left), [2, 3, 4, 5]);
    });
}

#[test]
fn what_is_said_to_be_there_is_on_the_disk_also_where_the_first_call_failed() {
    on(XFS, BYTES, |path| {
        let pool = begin(path);
        for number in 2..2 + COUNT {
            if number % 2 == 0 {
                make_without_flush(&pool, number);
            }
            pool.take_snapshot(snapshot(number), volume(1)).unwrap();
            pool.clone_volume(volume(number), snapshot(1), 8 * MIB).unwrap();
        }
        assert_eq!(what_a_power_cut_leaves(path, left), (2..2 + COUNT).collect::<Vec<_>>());
    });
}

#[test]
fn what_one_agent_did_not_flush_is_on_the_disk_once_the_next_has_the_pool() {
    on(XFS, BYTES, |path| {
        let first = begin(path);
        (2..2 + COUNT).for_each(|number| make_without_flush(&first, number));
        drop(first);
        let _next = pool(&path.join("pool"));
        assert_eq!(what_a_power_cut_leaves(path, left), (2..2 + COUNT).collect::<Vec<_>>());
    });
}
