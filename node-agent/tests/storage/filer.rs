//! A pool on a filer that is there already.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tepui_types::FilerFolder;
use tepui_types::agent::{
    ExportPart, ExportState, PoolBackend, PoolState, SnapshotPart, StorageObserved, StoredState, VolumePart,
};

use crate::support::client::Opener as _;
use crate::support::filer::Server;
use crate::support::lab::PATIENCE;
use crate::support::nfs::{self, OWN};
use crate::support::{MIB, pool_id, volume};
use crate::{Host, client, present};

/// Runs a test on a host whose pool is in a folder of a filer.
pub(crate) fn filer_host(test: impl FnOnce(&mut Host, &mut Server, &Path) + Send + 'static) {
    nfs::host(|path| {
        let mut host = Host::with(path, PoolBackend::Nfs);
        let pool = &mut host.part.pools[0];
        pool.filer = Some(FilerFolder { server: OWN, path: pool.path.clone() });
        let mut server = Server::start(path);
        host.until(is_ready);
        test(&mut host, &mut server, path);
    });
}

fn is_ready(seen: &StorageObserved) -> bool {
    matches!(seen.pools[0].state, PoolState::Ready { .. })
}

/// The pool says why it cannot be used, and its export is not gone.
#[track_caller]
fn assert_kept(seen: &StorageObserved, why: &str) {
    let pool = &seen.pools[0].state;
    assert!(matches!(pool, PoolState::Failed { message } if message.contains(why)), "{pool:?}");
    let export = &seen.exports[0].state;
    assert!(matches!(export, ExportState::Failed { message } if message.contains("its pool")), "{export:?}");
}

fn wanted() -> ExportPart {
    ExportPart::Open { node_address: OWN, secret: "nobody is asked for it".into(), read_only: false }
}

#[test]
fn a_pool_on_a_filer_gives_and_takes_its_volumes_and_serves_nothing_itself() {
    filer_host(|host, _, path| {
        host.want_volume(1, present(16));
        host.want_export(1, wanted());
        let seen = host.apply();
        let compute = client(&seen);
        let file = path.join(format!("pool/volumes/{}/disk.raw", volume(1)));
        assert_eq!(compute.path, file, "as the filer names it");
        let mut writer = compute.connect();
        writer.perform("write -P 1 0 4k");
        host.restart();
        assert_eq!(host.apply().exports, seen.exports, "another agent finds the same");
        writer.perform("write -P 2 4k 4k");

        // Beside its writer it grows and is taken a snapshot of.
        host.want_volume(1, present(32));
        let taken = SnapshotPart::Present { volume_id: volume(1), copy_of: None, image: None, taken: false };
        host.want_snapshot(1, pool_id(), taken);
        let seen = host.apply();
        assert_eq!(seen.volumes[0].state, StoredState::Present { size_bytes: 32 * MIB });
        assert_eq!(seen.snapshots[0].state, StoredState::Present { size_bytes: 16 * MIB });
        writer.perform("write -P 3 8k 4k");

        // An agent that never had it open ends it, and the volume goes after that.
        host.restart();
        host.want_volume(1, VolumePart::Absent);
        assert_eq!(host.apply().volumes, [], "it is in use: nothing is said of it yet");
        host.want_volume(1, present(32));
        host.want_export(1, ExportPart::Absent);
        assert_eq!(host.apply().exports[0].state, ExportState::Gone);
        assert_eq!(fs::metadata(&file).unwrap().uid(), 0);
        compute.refusal();
        writer.send("write -P 66 0 4k");
        assert!(writer.fails(PATIENCE));
        let bytes = fs::read(&file).unwrap();
        assert_eq!((bytes[0], bytes[4096], bytes[8192]), (1, 2, 3));
        host.want_volume(1, VolumePart::Absent);
        assert_eq!(host.apply().volumes[0].state, StoredState::Gone);
        assert_eq!(nfs::here("ganesha.nfsd").len(), 1, "that of the filer");
    });
}

#[test]
fn nothing_is_gone_of_a_pool_whose_folder_is_not_mounted() {
    filer_host(|host, _, path| {
        host.want_volume(1, present(16));
        host.want_export(1, wanted());
        let compute = client(&host.apply());
        // As after an unmount: the folder below the mount point shows.
        let (mounted, aside) = (path.join("pool"), path.join("aside"));
        fs::rename(&mounted, &aside).unwrap();
        fs::create_dir(&mounted).unwrap();
        host.want_export(1, ExportPart::Absent);
        let seen = host.apply_once();
        assert_kept(&seen, "is its file system mounted?");
        fs::remove_dir(&mounted).unwrap();
        fs::rename(&aside, &mounted).unwrap();
        compute.opens();
        assert_eq!(host.apply().exports[0].state, ExportState::Gone);
        compute.refusal();
    });
}

#[test]
fn nothing_is_gone_of_a_pool_whose_filer_is_away() {
    filer_host(|host, server, path| {
        host.want_volume(1, present(16));
        host.want_export(1, wanted());
        host.apply();
        server.end();
        host.restart();
        host.want_export(1, ExportPart::Absent);
        let seen = host.apply_once();
        assert_kept(&seen, "10.99.0.1 does not serve the pool at");
        server.serve(path);
        let seen = host.until(is_ready);
        assert_eq!(seen.exports[0].state, ExportState::Gone);
    });
}
