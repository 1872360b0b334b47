//! Volumes and snapshots on XFS.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod support;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::{BTRFS, BYTES, MIB, XFS, on, pool, snapshot, volume};
use tepui_storage::{Copying, Level, Pool, PoolError, Watermarks};
use tepui_types::Timestamp;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn write(path: &Path, offset: u64, content: &[u8]) {
    let disk = OpenOptions::new().write(true).open(path).unwrap();
    disk.write_all_at(content, offset).unwrap();
}

fn read(path: &Path, offset: u64, bytes: usize) -> Vec<u8> {
    let mut content = vec![0xee; bytes];
    File::open(path).unwrap().read_exact_at(&mut content, offset).unwrap();
    content
}

#[test]
fn a_snapshot_keeps_what_was_and_a_clone_of_it_goes_its_own_way() {
    for make in [XFS, BTRFS] {
        on(make, BYTES, goes_its_own_way);
    }
}

fn goes_its_own_way(path: &Path) {
    let pool = pool(path);
    let first = pool.create_volume(volume(1), 4 * MIB).unwrap();
    write(&first.path, 0, &[1; 8192]);
    let taken = pool.take_snapshot(snapshot(1), volume(1)).unwrap();
    assert_eq!(taken.bytes, 4 * MIB);
    write(&first.path, 0, &[2; 4096]);
    let cloned = pool.clone_volume(volume(2), snapshot(1), 8 * MIB).unwrap();
    assert_eq!(cloned.bytes, 8 * MIB);
    write(&cloned.path, 4096, &[3; 4096]);

    assert_eq!(read(&taken.path, 0, 8192), [1; 8192]);
    assert_eq!(read(&first.path, 0, 8192), [[2; 4096], [1; 4096]].concat());
    assert_eq!(read(&cloned.path, 0, 8192), [[1; 4096], [3; 4096]].concat());
    assert_eq!(read(&cloned.path, 4 * MIB, 4 << 20), vec![0; 4 << 20], "what was added reads zero");

    // Neither end of the line needs the other.
    pool.remove_volume(volume(1), at(0)).unwrap();
    pool.remove_snapshot(snapshot(1), at(0)).unwrap();
    assert_eq!(pool.sweep(|_| true).unwrap().len(), 2);
    assert_eq!(read(&cloned.path, 0, 8192), [[1; 4096], [3; 4096]].concat());
}

#[test]
fn a_snapshot_of_any_size_takes_no_room() {
    on(XFS, BYTES, |path| {
        let pool = pool(path);
        let disk = pool.create_volume(volume(1), 100 << 30).unwrap();
        write(&disk.path, 50 << 30, &vec![1; 64 << 20]);
        File::open(&disk.path).unwrap().sync_all().unwrap();
        let before = pool.usage().unwrap().used;
        for number in 1..=8 {
            pool.take_snapshot(snapshot(number), volume(1)).unwrap();
        }
        assert!(pool.usage().unwrap().used < before + MIB);
        assert_eq!(pool.snapshots().unwrap().len(), 8);
    });
}

#[test]
fn under_a_writer_each_snapshot_holds_an_exact_prefix_of_the_writes() {
    on(XFS, BYTES, |path| {
        let pool = pool(path);
        let disk = pool.create_volume(volume(1), STEPS * STEP as u64).unwrap();
        let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for step in (0..STEPS).take_while(|_| !stop.load(Ordering::Acquire)) {
                    write(&disk.path, place(step), &[1; STEP]);
                    written.store(step + 1, Ordering::Release);
                }
            });
            for number in 1..=6 {
                while written.load(Ordering::Acquire) < u64::try_from(number).unwrap() * 400 {
                    std::thread::yield_now();
                }
                let before = written.load(Ordering::Acquire);
                let taken = pool.take_snapshot(snapshot(number), volume(1)).unwrap();
                let after = written.load(Ordering::Acquire) + 1;
                let held = prefix(&taken.path);
                assert!((before..=after).contains(&held), "{held} of {before} to {after} writes");
            }
            stop.store(true, Ordering::Release);
        });
    });
}

const STEP: usize = 4096;
const STEPS: u64 = 16 << 10;

/// Where a write goes: all over the disk, so that a copy from one end to the other would miss some.
fn place(step: u64) -> u64 {
    step * 1237 % STEPS * STEP as u64
}

/// How many whole writes are there in front of the first that is not; none behind it is.
fn prefix(path: &Path) -> u64 {
    let content = read(path, 0, STEP * usize::try_from(STEPS).unwrap());
    let write = |step| &content[usize::try_from(place(step)).unwrap()..][..STEP];
    let held = (0..STEPS).take_while(|step| *write(*step) == [1; STEP]).count() as u64;
    let torn = write(held.min(STEPS - 1));
    assert!(torn.chunks(512).all(|sector| *sector == [0; 512] || *sector == [1; 512]), "a torn sector");
    let later = (held + 1..STEPS).find(|step| *write(*step) != [0; STEP]);
    assert_eq!(later, None, "a write without the {held}th");
    held
}

#[test]
fn the_canary_of_one_owner_is_never_read_by_the_next() {
    const CANARY: &[u8; 16] = b"canary-canary-ca";
    on(XFS, BYTES, |path| {
        let pool = pool(path);
        let canary = CANARY.repeat(200 << 16);
        let first = pool.create_volume(volume(1), 200 * MIB).unwrap();
        write(&first.path, 0, &canary);
        File::open(&first.path).unwrap().sync_all().unwrap();
        pool.remove_volume(volume(1), at(0)).unwrap();
        pool.sweep(|_| true).unwrap();

        // The next owner gets the same blocks: there are not enough others.
        let second = pool.create_volume(volume(2), 120 * MIB).unwrap();
        for block in 0..120 * MIB / 8192 {
            write(&second.path, block * 8192, &[1; 512]);
        }
        pool.grow_volume(volume(2), 200 * MIB).unwrap();
        write(&second.path, 200 * MIB - 512, &[1; 512]);
        File::open(&second.path).unwrap().sync_all().unwrap();
        let whole = read(&second.path, 0, 200 << 20);
        let clean = |sector: &[u8]| *sector == [0; 512] || *sector == [1; 512];
        assert!(whole.chunks(512).all(clean), "something was left");
    });
}

#[test]
fn everything_run_twice_is_done_once() {
    on(XFS, BYTES, |path| {
        let pool = pool(path);
        let twice = || {
            let made = pool.create_volume(volume(1), MIB).unwrap();
            let taken = pool.take_snapshot(snapshot(1), volume(1)).unwrap();
            let cloned = pool.clone_volume(volume(2), snapshot(1), 2 * MIB).unwrap();
            let grown = pool.grow_volume(volume(2), 4 * MIB).unwrap();
            (made, taken, cloned.path, grown.bytes)
        };
        let first = twice();
        write(&first.0.path, 0, &[1; 4096]);
        let second = twice();
        assert_eq!(
            (first.0.path, first.1, first.2, first.3),
            (second.0.path.clone(), second.1, second.2, second.3)
        );
        assert_eq!(read(&second.0.path, 0, 4096), [1; 4096], "a volume is not made over another");
        let held = pool.snapshot(snapshot(1)).unwrap().unwrap();
        assert_eq!(read(&held.path, 0, 4096), [0; 4096], "a snapshot is not taken again");

        for second in [0, 5] {
            pool.remove_volume(volume(1), at(second)).unwrap();
            pool.remove_snapshot(snapshot(1), at(second)).unwrap();
        }
        assert_eq!(
            pool.trash().unwrap().iter().map(|found| found.removed_at).collect::<Vec<_>>(),
            [at(0); 2]
        );
        assert_eq!(pool.sweep(|_| true).unwrap().len(), 2);
        assert_eq!(pool.sweep(|_| true).unwrap(), []);
    });
}

#[test]
fn the_trash_goes_by_order_alone_and_says_what_it_takes() {
    on(XFS, BYTES, |path| {
        let pool = pool(path);
        for number in [1, 2, 3] {
            let made = pool.create_volume(volume(number), MIB).unwrap();
            write(&made.path, 0, &vec![7; usize::try_from(number).unwrap() * 65_536]);
            File::open(&made.path).unwrap().sync_all().unwrap();
        }
        pool.remove_volume(volume(1), at(0)).unwrap();
        pool.remove_volume(volume(2), at(10)).unwrap();
        // Told by a clock that runs ahead.
        pool.remove_volume(volume(3), at(1_000_000)).unwrap();
        assert_eq!(pool.volumes().unwrap(), []);

        let sizes = || pool.trash().unwrap().iter().map(|found| found.allocated).collect::<Vec<_>>();
        assert_eq!(sizes(), [65_536, 131_072, 196_608]);
        let ordered = |number: u128| {
            let swept = pool.sweep(|found| found.id == volume(number).to_string()).unwrap();
            swept.into_iter().map(|found| found.id).collect::<Vec<_>>()
        };
        assert_eq!(ordered(9), [""; 0], "nothing of that name");
        assert_eq!(ordered(3), [volume(3).to_string()], "whatever time its host gave it");
        assert_eq!(ordered(3), [""; 0], "ordered twice");
        assert_eq!(sizes(), [65_536, 131_072]);

        let error = pool.create_volume(volume(2), MIB).unwrap_err();
        assert_eq!(error.to_string(), format!("{} was removed and lies in the trash", volume(2)));
    });
}

#[test]
fn bad_sizes_shrinking_and_what_is_not_there_are_refused_and_leave_nothing() {
    on(XFS, BYTES, |path| {
        let pool = pool(path);
        pool.create_volume(volume(1), 2 * MIB).unwrap();
        pool.take_snapshot(snapshot(1), volume(1)).unwrap();
        let refusals = [
            pool.create_volume(volume(2), 0).unwrap_err(),
            pool.create_volume(volume(2), 4097).unwrap_err(),
            pool.create_volume(volume(1), 4 * MIB).unwrap_err(),
            pool.grow_volume(volume(1), MIB).unwrap_err(),
            pool.grow_volume(volume(2), MIB).unwrap_err(),
            pool.clone_volume(volume(2), snapshot(1), MIB).unwrap_err(),
            pool.clone_volume(volume(2), snapshot(2), MIB).unwrap_err(),
            pool.take_snapshot(snapshot(2), volume(2)).unwrap_err(),
        ];
        let told: Vec<_> = refusals.iter().map(ToString::to_string).collect();
        let expected = [
            "a volume of 0 bytes: the size is a multiple of 4096 bytes and not 0".to_owned(),
            "a volume of 4097 bytes: the size is a multiple of 4096 bytes and not 0".to_owned(),
            format!("{} exists and has 2097152 bytes, not 4194304", volume(1)),
            format!("{} has 2097152 bytes and cannot shrink to 1048576", volume(1)),
            format!("the pool has no {}", volume(2)),
            format!("a volume of 1048576 bytes cannot hold {}, which has 2097152", snapshot(1)),
            format!("the pool has no {}", snapshot(2)),
            format!("the pool has no {}", volume(2)),
        ];
        assert_eq!(told, expected);
        assert_eq!(pool.volumes().unwrap(), [volume(1)]);
        assert_eq!(fs::read_dir(path.join("tmp")).unwrap().count(), 0);
    });
}

#[test]
fn a_file_system_without_room_refuses_and_nothing_half_made_stays() {
    for make in [XFS, BTRFS] {
        on(make, BYTES, refuses_without_room);
    }
}

fn refuses_without_room(path: &Path) {
    let pool = pool(path);
    let full = fs::write(path.join("other"), vec![1; 400 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let error = pool.create_volume(volume(1), MIB).unwrap_err();
    assert!(matches!(error, PoolError::Full { .. }), "{error}");
    assert_eq!(fs::read_dir(path.join("tmp")).unwrap().count(), 0);
    fs::remove_file(path.join("other")).unwrap();
    // The room is given back in the background, and by btrfs when it commits.
    support::call(Command::new("sync").arg("-f").arg(path));
    let deadline = Instant::now() + Duration::from_secs(30);
    while pool.level().unwrap() == Level::Hard {
        assert!(Instant::now() < deadline, "{:?}", pool.usage());
        std::thread::yield_now();
    }
    pool.create_volume(volume(1), MIB).unwrap();
}

#[test]
fn many_that_make_one_volume_at_once_all_have_it() {
    on(XFS, BYTES, |path| {
        let pool = pool(path);
        let make = |pool: &Pool| pool.create_volume(volume(1), MIB).map(|made| made.path);
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| make(&pool))).collect();
            let all: Vec<_> = all.into_iter().map(|one| one.join().unwrap().unwrap()).collect();
            assert!(all.iter().all(|path| *path == all[0]));
        });
        assert_eq!(fs::read_dir(path.join("tmp")).unwrap().count(), 0);
    });
}

#[test]
fn a_copy_of_a_snapshot_outlives_it_in_its_pool_and_on_another_file_system() {
    on(XFS, BYTES, |path| {
        let path = path.to_owned();
        on(BTRFS, BYTES, move |other| outlives_its_source(&pool(&path), &pool(other)));
    });
}

fn outlives_its_source(pool: &Pool, other: &Pool) {
    let disk = pool.create_volume(volume(1), 100 << 30).unwrap();
    write(&disk.path, 0, &[1; 8192]);
    write(&disk.path, 50 << 30, &vec![2; 70 << 20]);
    let taken = pool.take_snapshot(snapshot(1), volume(1)).unwrap();
    let before = (pool.usage().unwrap().used, other.usage().unwrap().used);
    let near = pool.copy_snapshot(snapshot(2), snapshot(1)).unwrap();
    assert!(pool.usage().unwrap().used < before.0 + MIB, "in its pool it takes no room");
    let far = other.transfer_snapshot(snapshot(3), (pool, snapshot(1)), &Copying::default()).unwrap();
    assert_eq!((near.bytes, far.bytes), (taken.bytes, taken.bytes));
    assert!(far.allocated >= 70 << 20 && far.allocated < 80 << 20, "holes stay holes: {far:?}");
    assert_eq!(fs::metadata(&far.path).unwrap().permissions().mode() & 0o777, 0o400, "nobody writes it");

    pool.remove_snapshot(snapshot(1), at(0)).unwrap();
    pool.sweep(|_| true).unwrap();
    for copy in [&near.path, &far.path] {
        assert_eq!(read(copy, 0, 8192), [1; 8192]);
        assert_eq!(read(copy, 8192, 4096), [0; 4096]);
        assert_eq!(read(copy, 50 << 30, 70 << 20), vec![2; 70 << 20]);
        assert_eq!(read(copy, (100 << 30) - 4096, 4096), [0; 4096]);
    }
    let again = pool.copy_snapshot(snapshot(2), snapshot(1)).unwrap();
    assert_eq!(again, near, "what is there is not made again");
    let gone = pool.copy_snapshot(snapshot(4), snapshot(1)).unwrap_err();
    assert!(matches!(gone, PoolError::NoSnapshot(_)), "{gone}");
}

#[test]
fn a_copy_that_is_called_off_or_would_fill_its_pool_leaves_nothing() {
    on(XFS, BYTES, |path| {
        let path = path.to_owned();
        on(XFS, BYTES, move |other| leaves_nothing(&pool(&path), other));
    });
}

fn leaves_nothing(from: &Pool, path: &Path) {
    let disk = from.create_volume(volume(1), 200 * MIB).unwrap();
    write(&disk.path, 0, &vec![1; 160 << 20]);
    from.take_snapshot(snapshot(1), volume(1)).unwrap();
    let copy = |to: &Pool, is_given_up| {
        let copying = Copying::default();
        if is_given_up {
            copying.give_up();
        }
        let made = to.transfer_snapshot(snapshot(2), (from, snapshot(1)), &copying);
        assert_eq!(to.snapshots().unwrap(), []);
        assert_eq!(fs::read_dir(path.join("tmp")).unwrap().count(), 0);
        made.unwrap_err()
    };
    let error = copy(&pool(path), true);
    assert!(matches!(error, PoolError::Stopped), "{error}");
    let marks = Watermarks { soft_percent: 40, hard_percent: 50 };
    let error = copy(&Pool::open(path, support::pool_id(), marks).unwrap(), false);
    assert!(matches!(error, PoolError::NoRoom { .. }), "{error}");
}
