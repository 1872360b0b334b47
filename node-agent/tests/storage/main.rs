//! The pools of a host on a real file system, served by a real tgtd and a real ganesha.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails the test; clippy sees only test functions as tests"
)]

#[path = "../../../storage/tests/support/mod.rs"]
mod support;

mod doctor;
mod filer;
mod images;
mod leftovers;
mod restore_tests;
mod sending;

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use images::{Source, cache};
use sending::Far;

use support::client::{Opener as _, told};
use support::lab::{Initiator, PATIENCE, free_port};
use support::nfs::{self, NfsClient, OWN};
use support::{BTRFS, BYTES, MIB, XFS, on, pool_id, snapshot, volume};
use tepui_agent::images::ImageCache;
use tepui_agent::storage::{ContentSource, LocalPools, PoolSettings, Storage};
use tepui_storage::Backend as _;
use tepui_storage::iscsi::{Settings, Tgt};
use tepui_storage::nfs::Ganesha;
use tepui_types::agent::{
    ExportPart, ExportState, PoolBackend, PoolPart, PoolState, SnapshotPart, SnapshotSource, StorageObserved,
    StoragePart, StoredState, VolumePart, VolumeSource, WantedExport, WantedSnapshot, WantedVolume,
};
use tepui_types::{ExportId, PoolId, Timestamp, failpoint};
use tokio::runtime::Runtime;

const SECRET: &str = "0123456789ABCDEF";

/// A storage host whose agent is this process.
struct Host {
    pools: LocalPools,
    source: Arc<Source>,
    far: Arc<Far>,
    images: PathBuf,
    settings: Settings,
    runtime: Runtime,
    part: StoragePart,
}

/// Runs a test on a host with an empty pool.
fn host(test: impl FnOnce(&mut Host, &Path) + Send + 'static) {
    on(XFS, BYTES, move |path| {
        let mut host = Host::with(path, PoolBackend::Iscsi);
        test(&mut host, path);
        host.runtime.block_on(Tgt::new(host.settings.clone()).end()).unwrap();
    });
}

/// Runs a test on a host with an empty pool that is served over NFS.
fn nfs_host(test: impl FnOnce(&mut Host, &Path) + Send + 'static) {
    nfs::host(|path| {
        let mut host = Host::with(path, PoolBackend::Nfs);
        test(&mut host, path);
        host.runtime.block_on(Ganesha::new(nfs::settings()).end()).unwrap();
    });
}

fn pools(iscsi: &Settings, images: Arc<ImageCache>, far: &Arc<Far>) -> LocalPools {
    let settings = PoolSettings { iscsi: iscsi.clone(), nfs: nfs::settings() };
    LocalPools::new(settings, images, Arc::clone(far) as Arc<dyn ContentSource>, || Timestamp::UNIX_EPOCH)
}

impl Host {
    fn with(path: &Path, backend: PoolBackend) -> Self {
        std::fs::create_dir(path.join("pool")).unwrap();
        let mut settings = Settings::new(path.join("run"), free_port());
        (settings.ping_seconds, settings.lost_pings) = (3, 2);
        let pool = PoolPart {
            id: pool_id(),
            backend,
            path: path.join("pool").display().to_string(),
            filer: None,
            soft_percent: 80,
            hard_percent: 95,
        };
        let (source, images) = (Arc::<Source>::default(), path.join("images"));
        let far = Arc::<Far>::default();
        Self {
            pools: pools(&settings, cache(&images, &source), &far),
            source,
            far,
            images,
            settings,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            part: StoragePart { pools: vec![pool], ..StoragePart::default() },
        }
    }

    /// Does what is wanted, twice: the second time nothing is left to do.
    fn apply(&self) -> StorageObserved {
        self.runtime.block_on(self.pools.apply(&self.part));
        self.runtime.block_on(self.pools.apply(&self.part))
    }

    fn apply_once(&self) -> StorageObserved {
        self.runtime.block_on(self.pools.apply(&self.part))
    }

    /// Does what is wanted whenever something in the background has ended, until it is seen.
    fn until(&self, is_seen: impl Fn(&StorageObserved) -> bool) -> StorageObserved {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let seen = self.apply_once();
            if is_seen(&seen) {
                return seen;
            }
            assert!(std::time::Instant::now() < deadline, "{seen:?}");
            // As the keeper does, which looks again for what is to be tried again.
            let pause = Duration::from_millis(250);
            let _ = self.runtime.block_on(async { tokio::time::timeout(pause, self.pools.arrived()).await });
        }
    }

    /// The agent ends and starts again.
    fn restart(&mut self) {
        self.pools = pools(&self.settings, cache(&self.images, &self.source), &self.far);
    }

    fn want_volume(&mut self, number: u128, wanted: VolumePart) {
        self.part.volumes.retain(|one| one.id != volume(number));
        self.part.volumes.push(WantedVolume { id: volume(number), pool_id: pool_id(), wanted });
    }

    fn want_snapshot(&mut self, number: u128, pool_id: PoolId, wanted: SnapshotPart) {
        self.part.snapshots.retain(|one| one.id != snapshot(number));
        self.part.snapshots.push(WantedSnapshot { id: snapshot(number), pool_id, wanted });
    }

    fn want_export(&mut self, number: u128, wanted: ExportPart) {
        self.part.exports.retain(|one| one.id != ExportId::from_random(number));
        let id = ExportId::from_random(number);
        self.part.exports.push(WantedExport { id, volume_id: volume(1), wanted });
    }

    /// An initiator as a compute host makes one of an open export.
    fn initiator(&self, seen: &StorageObserved, path: &Path) -> Initiator {
        let export = &seen.exports[0];
        let ExportState::Open { source: VolumeSource::Iscsi { portal, target, lun: 1 } } = &export.state
        else {
            panic!("{seen:?}")
        };
        let secret = path.join("secret");
        std::fs::write(&secret, SECRET).unwrap();
        Initiator {
            portal: (*portal).into(),
            target: target.clone(),
            account: Some(export.id.to_string()),
            initiator: format!("iqn.2026-11.cloud.tepui.host:{}", export.id),
            secret,
        }
    }
}

fn present(mib: u64) -> VolumePart {
    VolumePart::Present { size_bytes: mib * MIB, snapshot_id: None, image: None, made: false }
}

fn open() -> ExportPart {
    ExportPart::Open { node_address: [127, 0, 0, 1].into(), secret: SECRET.into(), read_only: false }
}

#[test]
fn volumes_and_snapshots_are_made_grown_and_removed() {
    host(|host, path| {
        host.want_volume(1, present(16));
        let seen = host.apply();
        let PoolState::Ready { total_bytes, used_bytes } = seen.pools[0].state else { panic!("{seen:?}") };
        assert!(total_bytes > used_bytes && total_bytes <= BYTES, "{seen:?}");
        assert_eq!(seen.volumes[0].state, StoredState::Present { size_bytes: 16 * MIB });
        let file = |number: u128| {
            let found = walk(&path.join("pool/volumes")).into_iter();
            let id = volume(number).to_string();
            found.filter(|file| file.display().to_string().contains(&id)).collect::<Vec<_>>()
        };
        let disk = std::fs::OpenOptions::new().write(true).open(&file(1)[0]).unwrap();
        disk.write_all_at(&[7; 4096], 0).unwrap();

        let wanted = SnapshotPart::Present { volume_id: volume(1), copy_of: None, image: None, taken: false };
        host.part.snapshots = vec![WantedSnapshot { id: snapshot(1), pool_id: pool_id(), wanted }];
        host.want_volume(1, present(24));
        let made = VolumePart::Present {
            size_bytes: 32 * MIB,
            snapshot_id: Some(snapshot(1)),
            image: None,
            made: false,
        };
        host.want_volume(2, made);
        let seen = host.apply();
        assert_eq!(seen.snapshots[0].state, StoredState::Present { size_bytes: 16 * MIB });
        let sizes: Vec<_> = seen.volumes.iter().map(|volume| volume.state.clone()).collect();
        let there = |mib| StoredState::Present { size_bytes: mib * MIB };
        assert_eq!(sizes, [there(24), there(32)]);
        let mut read = [0; 4096];
        std::fs::File::open(&file(2)[0]).unwrap().read_exact_at(&mut read, 0).unwrap();
        assert_eq!(read, [7; 4096], "it has what its snapshot had");

        host.want_volume(1, VolumePart::Absent);
        host.part.snapshots[0].wanted = SnapshotPart::Absent;
        let seen = host.apply();
        assert_eq!(seen.snapshots[0].state, StoredState::Gone);
        assert_eq!(seen.volumes.iter().find(|one| one.id == volume(1)).unwrap().state, StoredState::Gone);
        assert!(file(1).is_empty(), "{:?}", file(1));
        let of_nothing =
            VolumePart::Present { size_bytes: MIB, snapshot_id: Some(snapshot(9)), image: None, made: false };
        host.want_volume(3, of_nothing);
        let seen = host.apply();
        let lost = &seen.volumes.iter().find(|one| one.id == volume(3)).unwrap().state;
        assert!(matches!(lost, StoredState::Failed { permanent: true, .. }), "{lost:?}");
    });
}

#[test]
fn what_was_made_and_is_lost_is_never_made_anew() {
    host(|host, path| {
        let taken = |taken| SnapshotPart::Present { volume_id: volume(1), copy_of: None, image: None, taken };
        host.want_volume(1, present(1));
        host.want_export(1, open());
        host.part.snapshots =
            vec![WantedSnapshot { id: snapshot(1), pool_id: pool_id(), wanted: taken(false) }];
        host.apply();
        host.want_volume(
            1,
            VolumePart::Present { size_bytes: 2 * MIB, snapshot_id: None, image: None, made: true },
        );
        host.part.snapshots[0].wanted = taken(true);
        let seen = host.apply();
        assert_eq!(seen.volumes[0].state, StoredState::Present { size_bytes: 2 * MIB }, "it still grows");
        assert_eq!(seen.snapshots[0].state, StoredState::Present { size_bytes: MIB });

        let shelves = ["volumes", "snapshots"].map(|shelf| path.join("pool").join(shelf));
        let away = |shelf: &Path| path.join(shelf.file_name().unwrap());
        for shelf in &shelves {
            std::fs::rename(shelf, away(shelf)).unwrap();
            std::fs::create_dir(shelf).unwrap();
        }
        let seen = host.apply();
        let lost = |state: &StoredState| matches!(state, StoredState::Failed { message, permanent: false } if message.contains("any more"));
        assert!(lost(&seen.volumes[0].state) && lost(&seen.snapshots[0].state), "{seen:?}");
        for shelf in &shelves {
            assert_eq!(walk(shelf), [] as [std::path::PathBuf; 0]);
            std::fs::remove_dir(shelf).unwrap();
            std::fs::rename(away(shelf), shelf).unwrap();
        }
        let seen = host.apply();
        assert_eq!(
            seen.volumes[0].state,
            StoredState::Present { size_bytes: 2 * MIB },
            "it was brought back"
        );
        assert_eq!(seen.snapshots[0].state, StoredState::Present { size_bytes: MIB });
    });
}

/// Runs a test on a host with a second pool, on another file system, to which a snapshot is to be copied.
fn two_pools(test: impl FnOnce(&mut Host, &Path) + Send + 'static) {
    on(XFS, BYTES, move |path| {
        let path = path.to_owned();
        on(BTRFS, BYTES, move |other| {
            let mut host = Host::with(&path, PoolBackend::Local);
            host.want_volume(1, present(16));
            let taken =
                SnapshotPart::Present { volume_id: volume(1), copy_of: None, image: None, taken: false };
            host.want_snapshot(1, pool_id(), taken);
            let cold = PoolPart {
                id: COLD,
                path: other.join("cold").display().to_string(),
                ..host.part.pools[0].clone()
            };
            std::fs::create_dir(&cold.path).unwrap();
            host.part.pools.push(cold);
            host.apply();
            let disk = path.join(format!("pool/volumes/{}/disk.raw", volume(1)));
            let disk = std::fs::OpenOptions::new().write(true).open(disk).unwrap();
            disk.write_all_at(&[7; 4096], 4096).unwrap();
            host.want_snapshot(
                2,
                pool_id(),
                SnapshotPart::Present { volume_id: volume(1), copy_of: None, image: None, taken: false },
            );
            host.apply();
            test(&mut host, other);
        });
    });
}

const COLD: PoolId = PoolId::from_random(2);

fn seen_of(seen: &StorageObserved, number: u128) -> Option<&StoredState> {
    seen.snapshots.iter().find(|one| one.id == snapshot(number)).map(|one| &one.state)
}

/// A copy of the second snapshot.
fn copied(taken: bool) -> SnapshotPart {
    let source = SnapshotSource { snapshot_id: snapshot(2), pool_id: pool_id() };
    SnapshotPart::Present { volume_id: volume(9), copy_of: Some(source), image: None, taken }
}

#[test]
fn a_snapshot_is_copied_in_its_pool_at_once_and_to_another_in_the_background() {
    two_pools(|host, other| {
        host.want_snapshot(3, pool_id(), copied(false));
        host.want_snapshot(4, COLD, copied(false));
        host.want_snapshot(5, COLD, copied(false));
        let there = StoredState::Present { size_bytes: 16 * MIB };
        let seen = host.apply_once();
        assert_eq!(seen_of(&seen, 3), Some(&there));
        assert_eq!(seen_of(&seen, 4), None, "nothing is said of what is under way");
        // One after the other; what ends says that there is more to do.
        let seen = host.until(|seen| seen.snapshots.len() == 5);
        assert_eq!((seen_of(&seen, 4), seen_of(&seen, 5)), (Some(&there), Some(&there)));
        let copy = std::fs::read(other.join(format!("cold/snapshots/{}/disk.raw", snapshot(4)))).unwrap();
        assert_eq!((copy.len() as u64, &copy[4096..8192]), (16 * MIB, &[7; 4096][..]));

        host.want_snapshot(2, pool_id(), SnapshotPart::Absent);
        host.want_snapshot(4, COLD, copied(true));
        let seen = host.apply();
        assert_eq!(seen_of(&seen, 4), Some(&there), "it needs its source no more");
        host.want_snapshot(6, COLD, copied(false));
        let seen = host.until(|seen| seen.snapshots.len() == 6);
        let state = seen_of(&seen, 6);
        assert!(matches!(state, Some(StoredState::Failed { permanent: true, .. })), "{state:?}");
    });
}

#[test]
fn a_copy_that_is_not_wanted_any_more_is_called_off_and_one_that_failed_is_made_again() {
    two_pools(|host, other| {
        failpoint::arm("storage::transfer::piece", failpoint::Effect::Error);
        host.want_snapshot(4, COLD, copied(false));
        host.apply_once();
        let seen = host.until(|seen| seen.snapshots.len() == 3);
        let state = seen_of(&seen, 4);
        assert!(matches!(state, Some(StoredState::Failed { permanent: false, .. })), "{state:?}");
        host.want_snapshot(4, COLD, SnapshotPart::Absent);
        let seen = host.apply();
        assert_eq!(seen_of(&seen, 4), Some(&StoredState::Gone));
        let left = |folder: &str| std::fs::read_dir(other.join("cold").join(folder)).unwrap().count();
        assert_eq!((left("tmp"), left("snapshots")), (0, 0));

        host.want_snapshot(5, COLD, copied(false));
        host.apply_once();
        host.until(|seen| seen.snapshots.len() == 4);
        failpoint::disarm("storage::transfer::piece");
        let there = StoredState::Present { size_bytes: 16 * MIB };
        host.until(|seen| seen.snapshots.iter().any(|one| one.id == snapshot(5) && one.state == there));
    });
}

#[test]
fn copies_that_cannot_be_made_hold_up_no_other_and_give_no_cause_to_look_again() {
    two_pools(|host, _| {
        let missing = SnapshotSource { pool_id: pool_id(), snapshot_id: snapshot(9) };
        for number in [4, 5] {
            let wanted = SnapshotPart::Present {
                volume_id: volume(9),
                copy_of: Some(missing),
                image: None,
                taken: false,
            };
            host.want_snapshot(number, COLD, wanted);
        }
        host.want_snapshot(6, COLD, copied(false));
        let there = StoredState::Present { size_bytes: 16 * MIB };
        let seen = host.until(|seen| seen_of(seen, 6) == Some(&there));
        for number in [4, 5] {
            let state = seen_of(&seen, number);
            assert!(matches!(state, Some(StoredState::Failed { permanent: true, .. })), "{state:?}");
        }
        host.apply_once();
        let more = host
            .runtime
            .block_on(async { tokio::time::timeout(Duration::from_millis(500), host.pools.arrived()).await });
        assert!(more.is_err(), "nothing is under way");
    });
}

#[test]
fn a_copy_waits_for_the_pool_of_its_source() {
    two_pools(|host, _| {
        // The part names it still: it is this host's.
        let path = std::mem::replace(&mut host.part.pools[0].path, "/nowhere".into());
        host.want_snapshot(4, COLD, copied(false));
        let seen = host.apply();
        let state = seen_of(&seen, 4);
        assert!(
            matches!(state, Some(StoredState::Failed { message, permanent: false }) if message.contains("its source")),
            "{state:?}"
        );
        host.part.pools[0].path = path;
        host.until(|seen| {
            seen.snapshots.iter().all(|one| matches!(one.state, StoredState::Present { .. }))
                && seen.snapshots.len() == 3
        });
    });
}

#[test]
fn a_pool_that_cannot_be_one_says_so_and_nothing_in_it_is_lost_or_made() {
    host(|host, path| {
        host.part.pools[0].path = path.join("missing").display().to_string();
        host.want_volume(1, present(1));
        let seen = host.apply();
        assert!(matches!(&seen.pools[0].state, PoolState::Failed { message } if message.contains("missing")));
        assert!(matches!(seen.volumes[0].state, StoredState::Failed { permanent: false, .. }), "{seen:?}");
        host.part.pools[0].path = path.join("pool").display().to_string();
        let seen = host.apply();
        assert!(matches!(seen.volumes[0].state, StoredState::Present { .. }), "{seen:?}");
    });
}

#[test]
fn a_writer_goes_on_through_a_restart_of_the_agent_and_an_end_of_tgtd() {
    host(|host, path| {
        host.want_volume(1, present(16));
        host.want_export(1, open());
        let seen = host.apply();
        let initiator = host.initiator(&seen, path);
        let mut writer = initiator.connect();
        writer.perform("write -P 1 0 4k");
        host.restart();
        assert_eq!(host.apply().exports, seen.exports, "another agent finds the same");
        writer.perform("write -P 2 4k 4k");

        let killed = Tgt::new(host.settings.clone());
        host.runtime.block_on(async {
            let ended = host.pools.ended();
            let end = async { killed.end().await.unwrap() };
            tokio::time::timeout(PATIENCE, async { tokio::join!(ended, end) }).await.unwrap();
        });
        assert_eq!(host.apply().exports, seen.exports, "a new tgtd serves the same");
        writer.perform("write -P 3 8k 4k");
        let read = initiator.perform(&["read -P 2 4k 4k", "read -P 3 8k 4k"], true);
        assert!(read.status.success(), "{}", told(&read));
    });
}

#[test]
fn a_volume_has_grown_once_what_serves_it_shows_the_size() {
    host(|host, path| {
        host.want_volume(1, present(16));
        host.want_export(1, open());
        let seen = host.apply();
        let initiator = host.initiator(&seen, path);
        let length = || told(&initiator.perform(&["length"], true));
        assert!(length().contains("16 MiB"), "{}", length());
        host.want_volume(1, present(64));
        failpoint::arm("storage::enlarge::unit", failpoint::Effect::Error);
        let seen = host.runtime.block_on(host.pools.apply(&host.part));
        assert!(matches!(&seen.exports[0].state, ExportState::Failed { .. }), "{seen:?}");
        let grown = &seen.volumes[0].state;
        assert!(
            matches!(grown, StoredState::Failed { permanent: false, .. }),
            "no guest is told of it: {seen:?}"
        );
        failpoint::disarm("storage::enlarge::unit");
        let seen = host.apply();
        assert_eq!(seen.volumes[0].state, StoredState::Present { size_bytes: 64 * MIB });
        assert!(length().contains("64 MiB"), "{}", length());
    });
}

#[test]
fn a_volume_goes_only_after_its_export_and_that_only_after_its_connections() {
    host(|host, path| {
        host.want_volume(1, present(16));
        host.want_export(1, open());
        let seen = host.apply();
        let initiator = host.initiator(&seen, path);
        let mut writer = initiator.connect();
        writer.perform("write -P 1 0 4k");
        host.want_volume(1, VolumePart::Absent);
        let seen = host.apply();
        assert_eq!(seen.volumes, [], "it is in use: nothing is said of it yet");
        writer.perform("write -P 2 0 4k");
        host.want_export(1, ExportPart::Absent);
        let seen = host.apply();
        assert_eq!(seen.exports[0].state, ExportState::Closing { connections: 1 });
        writer.perform("write -P 2 4k 4k");
        initiator.refusal();
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let seen = host.apply();
            if seen.exports[0].state == ExportState::Gone {
                assert_eq!(seen.volumes[0].state, StoredState::Gone);
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{seen:?}");
        }
        initiator.refusal();
        writer.send("write -P 3 0 4k");
        assert!(!writer.is_done(Duration::from_millis(100)), "a late write was taken");
    });
}

#[test]
fn what_is_to_go_is_gone_where_nothing_serves_and_starts_no_server() {
    nfs_host(|host, path| {
        host.want_volume(1, present(16));
        host.want_export(1, ExportPart::Absent);
        // Of pools that nobody knows any more, nor which server had them.
        host.want_export(2, ExportPart::Absent);
        host.part.exports[1].volume_id = volume(2);
        host.settings.program = "there-is-no-tgtd".into();
        host.restart();
        let seen = host.apply();
        assert!(seen.exports.iter().all(|one| one.state == ExportState::Gone), "{seen:?}");
        assert!(!path.join("run").exists() && nfs::here("ganesha.nfsd").is_empty());
    });
}

#[test]
fn a_local_reader_goes_while_others_stay_also_with_the_next_agent() {
    on(XFS, BYTES, |path| {
        let mut host = Host::with(path, PoolBackend::Local);
        host.want_volume(1, present(16));
        let reads = || ExportPart::Open { node_address: OWN, secret: SECRET.into(), read_only: true };
        (1..=3).for_each(|number| host.want_export(number, reads()));
        let states = |seen: &StorageObserved| {
            let letter = |state: &ExportState| match state {
                ExportState::Open { .. } => 'o',
                ExportState::Gone => 'g',
                ExportState::Closing { .. } => 'c',
                ExportState::Failed { message } => panic!("{message}"),
            };
            seen.exports.iter().map(|one| letter(&one.state)).collect::<String>()
        };
        let seen = host.apply();
        assert_eq!(states(&seen), "ooo");
        let ExportState::Open { source: VolumeSource::Local { path: file } } = &seen.exports[0].state else {
            panic!("{seen:?}")
        };
        // As the guests that stay have it.
        let open = std::fs::File::open(file).unwrap();
        host.want_export(1, ExportPart::Absent);
        assert_eq!(states(&host.apply()), "goo");
        host.restart();
        host.want_export(2, ExportPart::Absent);
        assert_eq!(states(&host.apply()), "ggo");
        host.restart();
        host.part.exports.clear();
        host.want_export(3, ExportPart::Absent);
        assert_eq!(states(&host.apply_once()), "c", "somebody has it open");
        drop(open);
        assert_eq!(states(&host.apply()), "g");
    });
}

/// A client as a compute host makes one of an open export.
fn client(seen: &StorageObserved) -> NfsClient {
    let ExportState::Open { source: VolumeSource::Nfs { server: OWN, path, uid, gid } } =
        &seen.exports[0].state
    else {
        panic!("{seen:?}")
    };
    assert_eq!(uid, gid);
    NfsClient { path: path.into(), user: *uid }
}

#[test]
fn over_nfs_a_writer_goes_on_until_its_export_is_to_go_and_the_volume_goes_after_that() {
    nfs_host(|host, _| {
        host.want_volume(1, present(16));
        let wanted =
            ExportPart::Open { node_address: OWN, secret: "nobody is asked for it".into(), read_only: false };
        host.want_export(1, wanted);
        let seen = host.apply();
        let client = client(&seen);
        let mut writer = client.connect();
        writer.perform("write -P 1 0 4k");
        host.restart();
        assert_eq!(host.apply().exports, seen.exports, "another agent finds the same");
        writer.perform("write -P 2 4k 4k");
        let killed = Ganesha::new(nfs::settings());
        host.runtime.block_on(async {
            let ended = host.pools.ended();
            let end = async { killed.end().await.unwrap() };
            tokio::time::timeout(PATIENCE, async { tokio::join!(ended, end) }).await.unwrap();
        });
        assert_eq!(host.apply().exports, seen.exports, "a new ganesha serves the same");
        writer.perform("write -P 3 8k 4k");

        host.want_volume(1, VolumePart::Absent);
        assert_eq!(host.apply().volumes, [], "it is in use: nothing is said of it yet");
        // The pool's disk is away for a while: the export is found by its own name.
        let pool = std::mem::take(&mut host.part.pools);
        host.want_export(1, ExportPart::Absent);
        assert_eq!(host.apply().exports[0].state, ExportState::Gone);
        host.part.pools = pool;
        let seen = host.apply();
        assert_eq!(
            (&seen.exports[0].state, &seen.volumes[0].state),
            (&ExportState::Gone, &StoredState::Gone)
        );
        client.refusal();
        writer.send("write -P 66 0 4k");
        assert!(writer.fails(PATIENCE), "a late write was taken");
        assert_eq!(host.runtime.block_on(killed.list()).unwrap(), []);
    });
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}
