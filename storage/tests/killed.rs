//! A process that dies between the steps of an operation on a pool, and the next one that goes on.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod support;

use std::env;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{BYTES, MIB, XFS, on, pool, snapshot, volume};
use tepui_storage::{Copying, Pool, STEPS};
use tepui_types::agent::{SnapshotImage, VolumeImage};
use tepui_types::frames::Decoder;
use tepui_types::{Digest, SnapshotId, Timestamp, failpoint};

/// Names the pool to the process that dies.
const POOL: &str = "TEPUI_TEST_POOL";
const OPERATION: &str = "TEPUI_TEST_OPERATION";
/// A pool on another file system.
const OTHER: &str = "TEPUI_TEST_OTHER_POOL";

/// An image of two MiB, whose file is beside the other pool's folders.
fn image(number: u8) -> VolumeImage {
    VolumeImage { digest: Digest::of(&[number]), bytes: 2 * MIB }
}

fn perform(pool: &Pool, other: &Path, operation: &str) {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    match operation {
        "create" => drop(pool.create_volume(volume(2), 2 * MIB).unwrap()),
        "clone" => drop(pool.clone_volume(volume(3), snapshot(1), 4 * MIB).unwrap()),
        "snapshot" => drop(pool.take_snapshot(snapshot(2), volume(1)).unwrap()),
        "copy" => drop(pool.copy_snapshot(snapshot(3), snapshot(1)).unwrap()),
        "transfer" => {
            let from = (&support::pool(other), snapshot(1));
            drop(pool.transfer_snapshot(snapshot(4), from, &Copying::default()).unwrap());
        }
        "receive" => receive(pool, snapshot(5), &support::pool(other)),
        "base" => drop(pool.make_base(image(3), &other.join("image"), &Copying::default()).unwrap()),
        "begin" => drop(pool.begin_volume(volume(4), image(1), 4 * MIB).unwrap()),
        "begin_snapshot" => {
            let with = SnapshotImage { content: image(1), size_bytes: 4 * MIB };
            drop(pool.begin_snapshot(snapshot(6), with).unwrap());
        }
        "test" => drop(pool.restore_for_test(snapshot(1)).unwrap().digest(&Copying::default()).unwrap()),
        "drop_base" => pool.drop_base(image(2).digest).unwrap(),
        "grow" => drop(pool.grow_volume(volume(1), 8 * MIB).unwrap()),
        "remove" => pool.remove_volume(volume(9), now).unwrap(),
        "sweep" => drop(pool.sweep(|found| found.removed_at < now).unwrap()),
        other => unreachable!("no operation {other}"),
    }
}

/// As it comes from another host.
fn receive(pool: &Pool, id: SnapshotId, from: &Pool) {
    let content = from.content(snapshot(1), 0).unwrap();
    let size = (content.bytes(), &Copying::default());
    let made = pool.receive_snapshot(id, size, |incoming| {
        let mut decoder = Decoder::new().unwrap();
        content.into_iter().try_for_each(|portion| decoder.read(&portion?, |piece| incoming.piece(piece)))
    });
    made.unwrap();
}

/// Everything that each operation needs.
fn prepare(path: &Path) {
    let pool = pool(path);
    let disk = pool.create_volume(volume(1), 2 * MIB).unwrap();
    let disk = std::fs::OpenOptions::new().write(true).open(disk.path).unwrap();
    disk.write_all_at(&[7; 4096], 4096).unwrap();
    pool.take_snapshot(snapshot(1), volume(1)).unwrap();
    std::fs::copy(pool.snapshot(snapshot(1)).unwrap().unwrap().path, path.join("image")).unwrap();
    for number in [1, 2] {
        pool.make_base(image(number), &path.join("image"), &Copying::default()).unwrap();
    }
    pool.create_volume(volume(8), MIB).unwrap();
    pool.create_volume(volume(9), MIB).unwrap();
    pool.remove_volume(volume(8), Timestamp::from_second(1_700_000_000).unwrap()).unwrap();
}

fn content(path: PathBuf) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// What must be so once an operation is done, whether it was cut off before or not.
fn check(pool: &Pool, operation: &str) {
    let written = |path: PathBuf, mib: u64| {
        let content = content(path);
        assert_eq!(content.len() as u64, mib * MIB);
        assert_eq!(content[4096..8192], [7; 4096]);
    };
    let found = |number| pool.volume(volume(number)).unwrap();
    match operation {
        "create" => assert_eq!(content(found(2).unwrap().path), vec![0; 2 << 20]),
        "clone" => written(found(3).unwrap().path, 4),
        "snapshot" => written(pool.snapshot(snapshot(2)).unwrap().unwrap().path, 2),
        "copy" => written(pool.snapshot(snapshot(3)).unwrap().unwrap().path, 2),
        "transfer" => written(pool.snapshot(snapshot(4)).unwrap().unwrap().path, 2),
        "receive" => written(pool.snapshot(snapshot(5)).unwrap().unwrap().path, 2),
        "base" => written(pool.base(image(3).digest).unwrap().unwrap().path, 2),
        "begin" => written(found(4).unwrap().path, 4),
        "begin_snapshot" => written(pool.snapshot(snapshot(6)).unwrap().unwrap().path, 4),
        "test" => written(pool.snapshot(snapshot(1)).unwrap().unwrap().path, 2),
        "drop_base" => assert_eq!(pool.bases().unwrap(), [image(1).digest]),
        "grow" => written(found(1).unwrap().path, 8),
        "remove" => {
            assert_eq!(found(9), None);
            assert_eq!(pool.trash().unwrap().len(), 2);
        }
        "sweep" => assert_eq!(pool.trash().unwrap(), []),
        other => unreachable!("no operation {other}"),
    }
    assert_eq!(content(found(1).unwrap().path)[4096..8192], [7; 4096], "another volume lost something");
}

/// Only in the processes that the next test starts is there something to do.
#[test]
fn the_process_that_dies() {
    let Ok(path) = env::var(POOL) else { return };
    failpoint::arm_from(&env::var(failpoint::VARIABLE).unwrap()).unwrap();
    let other = env::var(OTHER).unwrap();
    perform(&pool(Path::new(&path)), Path::new(&other), &env::var(OPERATION).unwrap());
}

#[test]
fn each_operation_is_finished_by_the_next_process_wherever_the_first_one_died() {
    on(XFS, BYTES, |path| {
        let path = path.to_owned();
        on(XFS, BYTES, move |other| die_everywhere(&path, other));
    });
}

fn die_everywhere(path: &Path, other: &Path) {
    prepare(other);
    for (operation, steps) in STEPS {
        for step in *steps {
            let name = format!("storage::{operation}::{step}");
            let own = path.join(name.replace("::", "-"));
            std::fs::create_dir(&own).unwrap();
            prepare(&own);
            let died = Command::new(env::current_exe().unwrap())
                .args(["--exact", "the_process_that_dies"])
                .envs([(POOL, own.as_path()), (OTHER, other)])
                .envs([(OPERATION, *operation), (failpoint::VARIABLE, &format!("{name}=exit"))])
                .output()
                .unwrap();
            assert_eq!(died.status.code(), Some(failpoint::EXIT_CODE), "{name}: {died:?}");
            let pool = pool(&own);
            assert_eq!(std::fs::read_dir(own.join("tmp")).unwrap().count(), 0, "{name}");
            perform(&pool, other, operation);
            check(&pool, operation);
            perform(&pool, other, operation);
            check(&pool, operation);
        }
    }
}
