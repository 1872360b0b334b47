//! Tests of snapshots on XFS and btrfs.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod support;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use support::{BTRFS, BYTES, MIB, XFS, on, pool, snapshot, volume};
use tepui_storage::{Copying, Pool, PoolError};
use tepui_types::{Digest, SnapshotId, failpoint};

fn write(path: &Path, offset: u64, content: &[u8]) {
    let disk = OpenOptions::new().write(true).open(path).unwrap();
    disk.write_all_at(content, offset).unwrap();
}

fn tested(pool: &Pool, id: SnapshotId) -> Digest {
    pool.restore_for_test(id).unwrap().digest(&Copying::default()).unwrap()
}

fn left(path: &Path) -> usize {
    fs::read_dir(path.join("tmp")).unwrap().count()
}

#[test]
fn a_test_digests_what_a_snapshot_holds_and_finds_bytes_that_were_damaged_underneath() {
    for make in [XFS, BTRFS] {
        on(make, BYTES, finds_damage);
    }
}

fn finds_damage(path: &Path) {
    let pool = pool(path);
    let disk = pool.create_volume(volume(1), 32 * MIB).unwrap();
    for (place, byte) in [(4096, 1), (9 * MIB - 5000, 2), (32 * MIB - 4096, 3)] {
        write(&disk.path, place, &[byte; 4096]);
    }
    let taken = pool.take_snapshot(snapshot(1), volume(1)).unwrap();
    let first = tested(&pool, snapshot(1));
    assert_eq!(tested(&pool, snapshot(1)), first);
    assert_eq!(left(path), 0, "nothing of a test stays");
    // The same content with other holes.
    write(&disk.path, 20 * MIB, &[0; 8192]);
    pool.take_snapshot(snapshot(2), volume(1)).unwrap();
    assert_eq!(tested(&pool, snapshot(2)), first);
    write(&disk.path, 20 * MIB, &[9; 1]);
    pool.take_snapshot(snapshot(3), volume(1)).unwrap();
    assert_ne!(tested(&pool, snapshot(3)), first);

    // One bit, of a file that nobody writes.
    write(&taken.path, 9 * MIB - 2000, &[2 ^ 1]);
    let damaged = tested(&pool, snapshot(1));
    assert_ne!(damaged, first);
    write(&taken.path, 9 * MIB - 2000, &[2]);
    assert_eq!(tested(&pool, snapshot(1)), first);
    // A file that lost its end restores without complaint.
    OpenOptions::new().write(true).open(&taken.path).unwrap().set_len(16 * MIB).unwrap();
    assert_ne!(tested(&pool, snapshot(1)), first);
    assert_eq!(pool.volumes().unwrap(), [volume(1)], "a test makes no volume");
}

#[test]
fn a_test_that_is_called_off_or_fails_leaves_nothing_and_one_that_died_is_tidied_up() {
    on(XFS, BYTES, |path| {
        let open = pool(path);
        let disk = open.create_volume(volume(1), 4 * MIB).unwrap();
        write(&disk.path, 0, &[1; 8192]);
        open.take_snapshot(snapshot(1), volume(1)).unwrap();
        let copying = Copying::default();
        copying.give_up();
        let stopped = open.restore_for_test(snapshot(1)).unwrap().digest(&copying);
        assert!(matches!(stopped, Err(PoolError::Stopped)), "{stopped:?}");
        failpoint::arm("storage::test::piece", failpoint::Effect::Error);
        let failed = open.restore_for_test(snapshot(1)).unwrap().digest(&Copying::default());
        failpoint::disarm("storage::test::piece");
        assert!(failed.is_err());
        let missing = open.restore_for_test(snapshot(9)).map(drop);
        assert!(matches!(missing, Err(PoolError::NoSnapshot(id)) if id == snapshot(9)), "{missing:?}");
        assert_eq!(left(path), 0);

        std::mem::forget(open.restore_for_test(snapshot(1)).unwrap());
        assert_eq!(left(path), 1);
        drop(open);
        let open = pool(path);
        assert_eq!(left(path), 0);
        tested(&open, snapshot(1));
    });
}
