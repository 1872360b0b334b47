//! Pools on real file systems.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod support;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;

use support::{BYTES, MARKS, MIB, XFS, call, on, pool, pool_id, snapshot, volume};
use tepui_storage::{Copying, Level, Pool, PoolError, Watermarks};
use tepui_types::{PoolId, Timestamp};

fn refusal(path: &Path) -> String {
    Pool::create(path, pool_id(), MARKS).unwrap_err().to_string()
}

#[test]
fn a_file_system_without_reflink_is_refused_with_its_name_and_the_cure() {
    on(&["mkfs.ext4", "-q", "-F"], BYTES, |path| {
        let told = refusal(path);
        let wanted = format!("{} is on ext2/ext3/ext4 without reflink", path.display());
        assert!(told.starts_with(&wanted) && told.contains("`mkfs.xfs -m reflink=1 DEVICE`"), "{told}");
        assert!(told.contains("or on btrfs"), "{told}");
        assert!(fs::read_dir(path).unwrap().all(|entry| entry.unwrap().file_name() == "lost+found"));
    });
}

#[test]
fn xfs_that_was_made_without_reflink_is_refused_too() {
    on(&["mkfs.xfs", "-q", "-m", "reflink=0"], BYTES, |path| {
        assert!(refusal(path).contains(" is on xfs without reflink"), "{}", refusal(path));
    });
}

#[test]
fn one_process_at_a_time_has_a_pool() {
    on(XFS, BYTES, |path| {
        let first = pool(path);
        let error = Pool::open(path, pool_id(), MARKS).unwrap_err();
        assert!(matches!(error, PoolError::InUse { .. }), "{error}");
        drop(first);
        Pool::open(path, pool_id(), MARKS).unwrap();
    });
}

#[test]
fn an_empty_mount_point_another_pool_and_a_strangers_folder_are_refused() {
    on(XFS, BYTES, |path| {
        let error = Pool::open(path, pool_id(), MARKS).unwrap_err();
        assert!(error.to_string().ends_with("is its file system mounted?"), "{error}");
        assert_eq!(fs::read_dir(path).unwrap().count(), 0, "nothing is made where no pool is");
        drop(pool(path));
        let other = PoolId::from_random(2);
        let error = Pool::open(path, other, MARKS).unwrap_err().to_string();
        assert!(error.contains(&format!("is the pool {} and not {other}", pool_id())), "{error}");

        let strangers = path.join("strangers");
        fs::create_dir(&strangers).unwrap();
        fs::write(strangers.join("letter"), b"mine").unwrap();
        let error = Pool::create(&strangers, pool_id(), MARKS).unwrap_err();
        assert!(matches!(error, PoolError::NotEmpty { .. }), "{error}");
        assert_eq!(fs::read(strangers.join("letter")).unwrap(), b"mine");
    });
}

#[test]
fn what_a_crash_left_half_made_goes_when_the_pool_is_opened() {
    on(XFS, BYTES, |path| {
        let open = pool(path);
        open.create_volume(volume(1), MIB).unwrap();
        drop(open);
        let half = path.join("tmp/half");
        fs::create_dir(&half).unwrap();
        fs::write(half.join("disk.raw"), vec![1; 4096]).unwrap();
        let open = pool(path);
        assert_eq!(fs::read_dir(path.join("tmp")).unwrap().count(), 0);
        assert_eq!(open.volumes().unwrap(), [volume(1)]);
    });
}

#[test]
fn volumes_are_thin_of_exact_size_and_a_full_pool_takes_nothing_new() {
    on(XFS, BYTES, |path| {
        let open = pool(path);
        let empty = open.usage().unwrap();
        assert!(empty.capacity > 200 * MIB, "{empty:?}");
        let thin = open.create_volume(volume(1), 1 << 40).unwrap();
        assert_eq!((thin.bytes, thin.allocated), (1 << 40, 0));
        assert!(open.usage().unwrap().used < empty.used + MIB);

        let disk = OpenOptions::new().write(true).open(&thin.path).unwrap();
        disk.write_all_at(&vec![1; 64 << 20], 1 << 30).unwrap();
        disk.sync_all().unwrap();
        let written = open.volume(volume(1)).unwrap().unwrap();
        assert_eq!((written.bytes, fs::metadata(&written.path).unwrap().size()), (1 << 40, 1 << 40));
        assert!((64 * MIB..65 * MIB).contains(&written.allocated), "{written:?}");
        assert!(open.usage().unwrap().used > empty.used + 60 * MIB);

        open.take_snapshot(snapshot(1), volume(1)).unwrap();
        drop(open);
        let tight = Watermarks { soft_percent: 10, hard_percent: 20 };
        let open = Pool::open(path, pool_id(), tight).unwrap();
        assert_eq!(open.level().unwrap(), Level::Hard);
        let refused = [
            open.create_volume(volume(2), MIB).unwrap_err(),
            open.grow_volume(volume(1), 2 << 40).unwrap_err(),
            open.take_snapshot(snapshot(2), volume(1)).unwrap_err(),
        ];
        for error in refused {
            assert!(error.to_string().contains("its hard watermark is 20 %"), "{error}");
        }
        // What is there already is no new thing.
        open.create_volume(volume(1), 1 << 40).unwrap();
        open.grow_volume(volume(1), 1 << 40).unwrap();
        assert_eq!(open.volumes().unwrap(), [volume(1)]);
        // What shares all its content takes no room.
        let cloned = open.clone_volume(volume(2), snapshot(1), 2 << 40).unwrap();
        assert_eq!(cloned.bytes, 2 << 40);
        open.remove_volume(volume(2), Timestamp::UNIX_EPOCH).unwrap();
        let error = open.clone_volume(volume(2), snapshot(1), 2 << 40).unwrap_err();
        assert!(matches!(error, PoolError::Removed { .. }), "{error}");
    });
}

#[test]
fn a_snapshot_that_comes_and_outgrows_the_pool_is_given_up_and_takes_no_room() {
    on(XFS, BYTES, |path| {
        let pool = pool(path);
        let (size, piece) = ((1 << 30, &Copying::default()), vec![7; 1 << 20]);
        let made = pool.receive_snapshot(snapshot(1), size, |incoming| {
            (0..1024).try_for_each(|_| incoming.piece(&piece))
        });
        assert!(matches!(made, Err(PoolError::Outgrown { .. })), "{made:?}");
        assert_eq!(pool.snapshot(snapshot(1)).unwrap(), None);
        pool.create_volume(volume(1), MIB).unwrap();
    });
}

#[test]
fn what_cannot_be_unlinked_keeps_nothing_else_in_the_trash() {
    on(XFS, BYTES, |path| {
        let pool = pool(path);
        for number in 1..=3 {
            pool.create_volume(volume(number), MIB).unwrap();
            pool.remove_volume(volume(number), Timestamp::UNIX_EPOCH).unwrap();
        }
        let stuck = pool.trash().unwrap()[0].path.join("disk.raw");
        call(Command::new("chattr").arg("+i").arg(&stuck));
        pool.sweep(|_| true).unwrap_err();
        assert_eq!(pool.trash().unwrap().len(), 1);
        call(Command::new("chattr").arg("-i").arg(&stuck));
        pool.sweep(|_| true).unwrap();
        assert_eq!(pool.trash().unwrap(), []);
    });
}
