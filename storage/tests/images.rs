//! Volumes that begin with an image.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod support;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use support::{BTRFS, BYTES, MIB, XFS, on, pool, pool_id, snapshot, volume};
use tepui_storage::{Copying, Pool, PoolError, Watermarks};
use tepui_types::agent::{SnapshotImage, VolumeImage};
use tepui_types::frames::{Decoder, FrameError};
use tepui_types::{Digest, SnapshotId, Timestamp};

/// No multiple of a block of anything.
const LENGTH: u64 = 64 * MIB + 512 + 7;

/// An image that the agent brought here: bytes at its start and end, and nothing between.
fn image(path: &Path) -> (VolumeImage, PathBuf) {
    let image = VolumeImage { digest: Digest::of(b"its bytes"), bytes: LENGTH };
    let file = File::create(path).unwrap();
    file.write_all_at(&vec![1; 2 << 20], 0).unwrap();
    file.write_all_at(&[2; 7], LENGTH - 7).unwrap();
    file.sync_all().unwrap();
    (image, path.to_owned())
}

fn make(pool: &Pool, (image, path): &(VolumeImage, PathBuf)) -> Result<tepui_storage::Base, PoolError> {
    pool.make_base(*image, path, &Copying::default())
}

fn read(path: &Path, offset: u64, bytes: usize) -> Vec<u8> {
    let mut content = vec![0xee; bytes];
    File::open(path).unwrap().read_exact_at(&mut content, offset).unwrap();
    content
}

#[test]
fn an_image_is_copied_once_and_each_volume_of_it_is_a_clone_that_goes_its_own_way() {
    for make in [XFS, BTRFS] {
        on(make, BYTES, |path| {
            let elsewhere = tempfile::tempdir().unwrap();
            goes_its_own_way(path, &image(&elsewhere.path().join("image")));
            fs::remove_dir_all(path.join("images")).unwrap();
            fs::remove_dir_all(path.join("volumes")).unwrap();
            goes_its_own_way(path, &image(&path.join("image")));
        });
    }
}

fn goes_its_own_way(path: &Path, source: &(VolumeImage, PathBuf)) {
    let pool = pool(path);
    let with = source.0;
    let error = pool.begin_volume(volume(1), with, 80 * MIB).unwrap_err();
    assert!(matches!(error, PoolError::NoBase(digest) if digest == with.digest), "{error}");
    let base = make(&pool, source).unwrap();
    assert_eq!((base.bytes, fs::metadata(&base.path).unwrap().permissions().mode() & 0o777), (LENGTH, 0o400));
    assert!(base.allocated < 4 * MIB, "holes stay holes: {base:?}");
    let inode = fs::metadata(&base.path).unwrap().ino();
    assert_eq!(make(&pool, source).unwrap(), base);
    assert_eq!(fs::metadata(&base.path).unwrap().ino(), inode, "it is made once");
    assert_eq!(pool.bases().unwrap(), [with.digest]);

    let before = pool.usage().unwrap().used;
    for number in 1..=32 {
        let made = pool.begin_volume(volume(number), with, 80 * MIB).unwrap();
        assert_eq!(made.bytes, 80 * MIB);
    }
    // The block in which the image ends is each volume's own, and a file system reserves more around it.
    assert!(
        pool.usage().unwrap().used < before + 16 * MIB,
        "not 32 times two MiB: their extents are the base's"
    );
    let first = pool.begin_volume(volume(1), with, 80 * MIB).unwrap();
    let disk = OpenOptions::new().write(true).open(&first.path).unwrap();
    disk.write_all_at(&[3; 4096], 0).unwrap();
    let again = pool.begin_volume(volume(1), with, 80 * MIB).unwrap();
    assert_eq!(read(&again.path, 0, 8192), [[3; 4096], [1; 4096]].concat(), "it is not made over itself");

    pool.drop_base(with.digest).unwrap();
    pool.drop_base(with.digest).unwrap();
    assert_eq!(pool.bases().unwrap(), []);
    assert_eq!(fs::read_dir(path.join("tmp")).unwrap().count(), 0);
    let second = pool.volume(volume(2)).unwrap().unwrap();
    assert_eq!(read(&second.path, 0, 2 << 20), vec![1; 2 << 20], "it needs its base no more");
    let tail = read(&second.path, LENGTH - 7, usize::try_from(80 * MIB - LENGTH + 7).unwrap());
    assert!(tail[..7] == [2; 7] && tail[7..].iter().all(|byte| *byte == 0), "what is beyond reads zero");
    pool.begin_volume(volume(1), with, 80 * MIB).unwrap();
    make(&pool, source).unwrap();
    assert_eq!(pool.bases().unwrap(), [with.digest], "it is made anew");
}

#[test]
fn a_snapshot_of_an_image_is_sealed_holds_it_and_zeros_and_needs_its_base_no_more() {
    for make_system in [XFS, BTRFS] {
        on(make_system, BYTES, |path| {
            let pool = pool(path);
            let elsewhere = tempfile::tempdir().unwrap();
            let source = image(&elsewhere.path().join("image"));
            let with = SnapshotImage { content: source.0, size_bytes: 80 * MIB };
            let error = pool.begin_snapshot(snapshot(1), with).unwrap_err();
            assert!(matches!(error, PoolError::NoBase(digest) if digest == with.content.digest), "{error}");
            make(&pool, &source).unwrap();
            let before = pool.usage().unwrap().used;
            let made = pool.begin_snapshot(snapshot(1), with).unwrap();
            let found = fs::metadata(&made.path).unwrap();
            assert_eq!(
                (made.bytes, found.len(), found.permissions().mode() & 0o777),
                (80 * MIB, 80 * MIB, 0o400)
            );
            assert!(pool.usage().unwrap().used - before < MIB, "it is a clone");
            pool.drop_base(with.content.digest).unwrap();
            assert_eq!(pool.begin_snapshot(snapshot(1), with).unwrap(), made, "it is made once");
            let mut content = fs::read(&source.1).unwrap();
            content.resize(usize::try_from(80 * MIB).unwrap(), 0);
            assert!(fs::read(&made.path).unwrap() == content, "the image, and zeros behind it");
            pool.clone_volume(volume(1), snapshot(1), 80 * MIB).unwrap();

            pool.remove_snapshot(snapshot(1), Timestamp::from_second(1_800_000_000).unwrap()).unwrap();
            make(&pool, &source).unwrap();
            let error = pool.begin_snapshot(snapshot(1), with).unwrap_err();
            assert!(
                matches!(error, PoolError::Removed { .. }),
                "what was removed does not come back: {error}"
            );
        });
    }
}

/// As its reader writes what it downloads.
fn download(pool: &Pool, id: SnapshotId, to: &Path) -> u64 {
    let content = pool.content(id, 0).unwrap();
    let (bytes, file) = (content.bytes(), File::create(to).unwrap());
    file.set_len(bytes).unwrap();
    let (mut decoder, mut at) = (Decoder::new().unwrap(), 0);
    for portion in content {
        let write = |piece: &[u8]| {
            file.write_all_at(piece, at).unwrap();
            at += piece.len() as u64;
            Ok::<(), FrameError>(())
        };
        decoder.read(&portion.unwrap(), write).unwrap();
    }
    bytes
}

#[test]
fn a_snapshot_that_was_downloaded_is_the_same_again_once_it_is_uploaded() {
    on(XFS, BYTES, |path| {
        let pool = pool(path);
        let disk = pool.create_volume(volume(1), 80 * MIB).unwrap();
        let disk = OpenOptions::new().write(true).open(disk.path).unwrap();
        for (place, byte) in [(0, 1), (33 * MIB + 512, 2), (80 * MIB - 4096, 3)] {
            disk.write_all_at(&[byte; 4096], place).unwrap();
        }
        disk.sync_all().unwrap();
        let taken = pool.take_snapshot(snapshot(1), volume(1)).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let file = elsewhere.path().join("data.raw");
        let bytes = download(&pool, snapshot(1), &file);

        let content = VolumeImage { digest: Digest::of(b"its bytes"), bytes };
        make(&pool, &(content, file)).unwrap();
        let with = SnapshotImage { content, size_bytes: bytes };
        let made = pool.begin_snapshot(snapshot(2), with).unwrap();
        assert!(fs::read(made.path).unwrap() == fs::read(taken.path).unwrap());
    });
}

#[test]
fn hostile_lengths_are_refused_and_leave_nothing() {
    on(XFS, BYTES, |path| {
        let pool = pool(path);
        let elsewhere = tempfile::tempdir().unwrap();
        let (image, file) = image(&elsewhere.path().join("image"));
        let said = |bytes| VolumeImage { bytes, ..image };
        let lengths = [0, LENGTH - 1, LENGTH + 1, u64::MAX];
        for bytes in lengths {
            let error = pool.make_base(said(bytes), &file, &Copying::default()).unwrap_err();
            let told = format!("has {LENGTH} bytes, and the image {} is said to have {bytes}", image.digest);
            assert!(error.to_string().ends_with(&told), "{error}");
        }
        assert_eq!(pool.bases().unwrap(), []);
        make(&pool, &(image, file)).unwrap();
        for bytes in lengths {
            let error = pool.begin_volume(volume(1), said(bytes), 1 << 40).unwrap_err();
            let larger = matches!(error, PoolError::SmallerThanImage { needed, .. } if needed == u64::MAX);
            assert!(larger || matches!(error, PoolError::ImageLength { .. }), "{error}");
        }
        let error = pool.begin_volume(volume(1), image, 64 * MIB).unwrap_err().to_string();
        let told = format!(
            "a disk of {} bytes cannot hold the image {}, which has {LENGTH}",
            64 * MIB,
            image.digest
        );
        assert_eq!(error, told);
        let error = pool.begin_volume(volume(1), image, LENGTH).unwrap_err();
        assert!(matches!(error, PoolError::Size { .. }), "{error}");
        for (bytes, size_bytes) in
            [(LENGTH, 64 * MIB), (LENGTH, LENGTH), (LENGTH - 1, 80 * MIB), (u64::MAX, 80 * MIB)]
        {
            let with = SnapshotImage { content: said(bytes), size_bytes };
            pool.begin_snapshot(snapshot(1), with).unwrap_err();
        }
        assert_eq!(pool.snapshots().unwrap(), []);
        assert_eq!((pool.volumes().unwrap(), fs::read_dir(path.join("tmp")).unwrap().count()), (vec![], 0));
    });
}

#[test]
fn a_pool_that_is_full_or_would_be_takes_no_base_and_nothing_of_one() {
    on(XFS, BYTES, |path| {
        drop(pool(path));
        let open = |hard_percent| {
            Pool::open(path, pool_id(), Watermarks { soft_percent: 10, hard_percent }).unwrap()
        };
        let elsewhere = tempfile::tempdir().unwrap();
        let (image, file) = image(&elsewhere.path().join("image"));
        File::options().write(true).open(&file).unwrap().write_all_at(&vec![1; 60 << 20], 0).unwrap();
        let marks = open(95).usage().unwrap();
        let used = u8::try_from(marks.used * 100 / marks.capacity).unwrap();
        // 60 of 320 MiB are more than ten percent.
        let pool = open(used + 10);
        let error = pool.make_base(image, &file, &Copying::default()).unwrap_err();
        assert!(matches!(error, PoolError::NoRoom { .. }), "{error}");
        assert_eq!(pool.bases().unwrap(), []);
        drop(pool);
        open(95).make_base(image, &file, &Copying::default()).unwrap();
        let error = open(used + 1).begin_volume(volume(1), image, 80 * MIB).unwrap_err();
        assert!(matches!(error, PoolError::Full { .. }), "{error}");
        let with = SnapshotImage { content: image, size_bytes: 80 * MIB };
        let error = open(used + 1).begin_snapshot(snapshot(1), with).unwrap_err();
        assert!(matches!(error, PoolError::Full { .. }), "{error}");
    });
}

#[test]
fn a_copy_that_is_given_up_leaves_nothing() {
    on(XFS, BYTES, |path| {
        let pool = pool(path);
        let elsewhere = tempfile::tempdir().unwrap();
        let (image, file) = image(&elsewhere.path().join("image"));
        let copying = Copying::default();
        copying.give_up();
        pool.make_base(image, &file, &copying).unwrap_err();
        assert_eq!((pool.bases().unwrap(), fs::read_dir(path.join("tmp")).unwrap().count()), (vec![], 0));
    });
}
