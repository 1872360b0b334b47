//! Captures of simulated guests, whose overlays are real.

use std::path::Path;

use tepui_libvirt::{Accelerator, DomainSpec, OffReason, Overlay, Root};
use tepui_types::frames::{Decoder, FrameError};
use tepui_types::{Digest, MacAddress, VolumeId};

use super::*;
use crate::disks::{SimulatedDisks, create_overlay};
use crate::hypervisor::{SimulatedHypervisor, SimulatedSettings};
use crate::testing::placement;

const MIB: u64 = 1 << 20;
const BYTES: u64 = 8 * MIB;

struct Host {
    dir: tempfile::TempDir,
    hypervisor: Arc<SimulatedHypervisor>,
    disks: Arc<SimulatedDisks>,
    captures: Arc<CaptureKeeper>,
}

fn snapshot(number: u128) -> SnapshotId {
    SnapshotId::from_random(number)
}

fn wanted(number: u128) -> Wanted {
    let image_digest = Digest::of(b"image");
    let disk =
        RootDisk { volume_id: VolumeId::from_random(1), image_digest, image_bytes: MIB, size_bytes: BYTES };
    Wanted { snapshot: snapshot(number), placement: placement(number), disk }
}

impl Host {
    /// A host with the overlays of two guests on an image of ones, and so many free bytes.
    async fn new(free_bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disks = Arc::new(SimulatedDisks::open(dir.path(), free_bytes).unwrap());
        let hypervisor = Arc::new(SimulatedHypervisor::new(SimulatedSettings::default()));
        for number in [1, 2] {
            let paths = disks.paths(placement(number), &wanted(number).disk);
            std::fs::write(&paths.base, vec![1; MIB as usize]).unwrap();
            create_overlay(&paths.overlay, &paths.base, BYTES).unwrap();
        }
        let keeper =
            CaptureKeeper::new(Arc::clone(&hypervisor) as _, Arc::clone(&disks) as _, dir.path().to_owned());
        Self { dir, hypervisor, disks, captures: Arc::new(keeper) }
    }

    async fn tidy() -> Self {
        let host = Self::new(1 << 40).await;
        host.captures.tidy().await.unwrap();
        host
    }

    async fn start(&self, number: u128) {
        let path = || self.dir.path().join("x");
        let overlay = Overlay {
            path: path(),
            base: path(),
            base_format: tepui_libvirt::DiskFormat::Raw,
            serial: "x".into(),
        };
        let spec = DomainSpec {
            placement_id: placement(number),
            instance_id: tepui_types::InstanceId::from_random(number),
            vcpus: 1,
            memory_mib: 128,
            accelerator: Accelerator::Tcg,
            root: Root::Overlay(overlay),
            tap: "t".into(),
            mac: MacAddress::from_octets([2, 0, 0, 0, 0, 1]),
            mtu: 1450,
            disks: Vec::new(),
            scratch: Vec::new(),
            console_log: path(),
        };
        self.hypervisor.start(&spec).await.unwrap();
    }

    fn file(&self, number: u128) -> PathBuf {
        file::path(self.dir.path(), placement(number))
    }

    async fn content(&self, number: u128) -> Result<Vec<u8>, CaptureError> {
        self.captures.content(wanted(number)).await.map(read)
    }

    async fn being_captured(&self, number: u128) {
        while !self.hypervisor.is_being_captured(placement(number)) {
            tokio::task::yield_now().await;
        }
    }

    /// Returns once the file of one is whole, and waits for who asks again.
    async fn captured(&self, number: u128) -> watch::Receiver<Progress> {
        let mut progress = self.captures.join(&wanted(number)).unwrap();
        progress.wait_for(|progress| matches!(progress, Progress::Whole(..))).await.unwrap();
        assert!(self.file(number).exists());
        progress
    }

    /// Returns once no capture has a file any more.
    async fn has_no_file(&self) {
        while !file::left_in(self.dir.path()).unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    }
}

fn read(content: DiskContent) -> Vec<u8> {
    let (mut decoder, mut raw) = (Decoder::new().unwrap(), Vec::new());
    for portion in content {
        let keep = |piece: &[u8]| {
            raw.extend_from_slice(piece);
            Ok::<_, FrameError>(())
        };
        decoder.read(&portion.unwrap(), keep).unwrap();
    }
    raw
}

#[tokio::test]
async fn a_guest_that_is_off_is_captured_with_its_image_and_nothing_is_left() {
    let host = Host::tidy().await;
    let mut expected = vec![0; BYTES as usize];
    expected[..MIB as usize].fill(1);
    for _ in 0..2 {
        assert!(host.content(1).await.unwrap() == expected);
        host.has_no_file().await;
    }
}

/// The capture of a guest that runs is whole without its image, which no byte is taken of.
#[tokio::test]
async fn a_guest_that_runs_is_captured_by_its_hypervisor() {
    let host = Host::tidy().await;
    host.start(1).await;
    assert!(host.content(1).await.unwrap() == vec![0; BYTES as usize]);
    host.has_no_file().await;
}

#[tokio::test]
async fn a_start_calls_a_capture_off_and_keeps_others_away_until_it_is_over() {
    let host = Host::tidy().await;
    host.hypervisor.set_captures_hang(true);
    host.start(1).await;
    let (refused, hold) = tokio::join!(host.content(1), async {
        host.being_captured(1).await;
        let hold = host.captures.hold(placement(1)).await;
        assert!(!host.hypervisor.is_being_captured(placement(1)));
        assert!(!host.file(1).exists(), "its file is gone before the guest starts");
        hold
    });
    let refused = refused.unwrap_err();
    assert!(matches!(&refused, CaptureError::Failed(why) if why.contains("called off")), "{refused}");
    let moving = host.content(1).await.unwrap_err();
    assert!(matches!(moving, CaptureError::Moving), "{moving}");
    assert!(host.content(2).await.is_ok(), "another guest's may be captured");
    drop(hold);
    host.hypervisor.set_captures_hang(false);
    host.hypervisor.goes_off(placement(1), OffReason::Guest);
    // The one of the other guest may still be on its way out.
    host.has_no_file().await;
    while let Err(error) = host.content(1).await {
        assert!(matches!(error, CaptureError::Busy), "{error}");
    }
}

#[tokio::test]
async fn one_is_made_at_a_time_and_shared_by_those_who_ask_for_the_same() {
    let host = Host::tidy().await;
    host.hypervisor.set_captures_hang(true);
    host.start(1).await;
    let end = async {
        host.being_captured(1).await;
        let busy = host.content(2).await.unwrap_err();
        assert!(matches!(busy, CaptureError::Busy), "{busy}");
        host.hypervisor.abort_capture(placement(1)).await.unwrap();
    };
    let (one, same, ()) = tokio::join!(host.content(1), host.content(1), end);
    for error in [one.unwrap_err(), same.unwrap_err()] {
        assert!(matches!(error, CaptureError::Failed(_)), "{error}");
    }
    host.has_no_file().await;
}

#[tokio::test]
async fn what_an_earlier_life_left_goes_before_anything_is_made() {
    let host = Host::new(1 << 40).await;
    host.hypervisor.set_captures_hang(true);
    host.start(1).await;
    assert!(host.hypervisor.begin_capture(placement(1), &host.file(1)).await.unwrap());
    std::fs::write(host.file(2), b"left").unwrap();
    let early = host.content(1).await.unwrap_err();
    assert!(matches!(early, CaptureError::Busy), "{early}");
    host.captures.tidy().await.unwrap();
    assert!(file::left_in(host.dir.path()).unwrap().is_empty());
    assert!(!host.hypervisor.is_being_captured(placement(1)), "QEMU's job is called off, too");
    assert!(host.content(2).await.is_ok());
}

#[tokio::test]
async fn a_disk_that_is_gone_or_has_no_room_beside_it_is_not_captured() {
    let host = Host::new(2 << 30).await;
    host.captures.tidy().await.unwrap();
    let full = host.content(1).await.unwrap_err();
    assert!(matches!(&full, CaptureError::Failed(why) if why.contains("are free")), "{full}");
    std::fs::remove_file(host.dir.path().join(format!("{}.qcow2", placement(1)))).unwrap();
    let gone = host.content(1).await.unwrap_err();
    assert!(matches!(&gone, CaptureError::Failed(why) if why.contains("no root disk")), "{gone}");
    assert!(file::left_in(host.dir.path()).unwrap().is_empty());
}

/// Nobody waits for it any more, and it must not take room for ever.
#[tokio::test(start_paused = true)]
async fn a_whole_capture_that_nobody_asks_for_again_goes() {
    let host = Host::tidy().await;
    let (begun, mut progress) = (Instant::now(), host.captured(1).await);
    progress.wait_for(|progress| *progress == Progress::Over(None)).await.unwrap();
    assert!(!host.file(1).exists());
    assert!(begun.elapsed() >= KEEP);
}

/// It waits for a reader, and guests for its room.
#[tokio::test(start_paused = true)]
async fn a_whole_capture_goes_when_guests_need_its_room() {
    let host = Host::tidy().await;
    let (begun, mut progress) = (Instant::now(), host.captured(1).await);
    host.disks.set_free_bytes(make::RESERVE - 1);
    progress.wait_for(|progress| *progress == Progress::Over(None)).await.unwrap();
    assert!(!host.file(1).exists());
    assert!(begun.elapsed() < IDLE);
}

/// It has no name any more, but takes its room while it is open.
#[tokio::test]
async fn a_capture_that_is_being_sent_breaks_off_when_guests_need_its_room() {
    let host = Host::tidy().await;
    let mut content = host.captures.content(wanted(1)).await.unwrap();
    host.disks.set_free_bytes(make::RESERVE - 1);
    let error = content.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
    assert!(content.next().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_whole_capture_that_nobody_asks_for_gives_way_to_another() {
    let host = Host::tidy().await;
    let _progress = host.captured(1).await;
    let busy = host.content(2).await.unwrap_err();
    assert!(matches!(busy, CaptureError::Busy), "{busy}");
    assert!(host.file(1).exists(), "who asked may still come again");
    tokio::time::advance(IDLE + Duration::from_secs(1)).await;
    let busy = host.content(2).await.unwrap_err();
    assert!(matches!(busy, CaptureError::Busy), "{busy}");
    host.has_no_file().await;
    while let Err(error) = host.content(2).await {
        assert!(matches!(error, CaptureError::Busy), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_capture_that_nobody_asks_for_any_more_is_called_off() {
    let host = Host::tidy().await;
    host.hypervisor.set_captures_hang(true);
    host.start(1).await;
    // So large that it may take longer.
    let mut large = wanted(1);
    large.disk.size_bytes = 16 << 30;
    let begun = Instant::now();
    // It is asked for twice, and then never again.
    drop(host.captures.join(&large).unwrap());
    tokio::time::sleep(Duration::from_secs(300)).await;
    let mut progress = host.captures.join(&large).unwrap();
    progress.wait_for(|progress| matches!(progress, Progress::Over(Some(_)))).await.unwrap();
    assert!(!host.file(1).exists() && !host.hypervisor.is_being_captured(placement(1)));
    let took = begun.elapsed().saturating_sub(Duration::from_secs(300));
    assert!(took >= ABANDONED && took < ABANDONED + Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn a_start_ends_a_whole_capture_too() {
    let host = Host::tidy().await;
    let progress = host.captured(1).await;
    let _hold = host.captures.hold(placement(1)).await;
    assert_eq!(*progress.borrow(), Progress::Over(None));
    assert!(!host.file(1).exists());
}

#[tokio::test]
async fn the_half_made_file_of_another_capture_is_not_sent() {
    let host = Host::tidy().await;
    host.hypervisor.set_captures_hang(true);
    host.start(1).await;
    let _progress = host.captures.join(&wanted(1)).unwrap();
    host.being_captured(1).await;
    for snapshot in [snapshot(1), snapshot(2)] {
        let opened = host.captures.open(Wanted { snapshot, ..wanted(1) }, Extent::All).await;
        assert!(matches!(opened, Err(CaptureError::NotYet)));
    }
    assert!(host.hypervisor.is_being_captured(placement(1)), "and it goes on");
}

#[test]
fn a_capture_is_known_by_its_name() {
    let path = file::path(Path::new("/disks"), placement(1));
    assert_eq!(file::placement_of(path.file_name().unwrap().to_str().unwrap()), Some(placement(1)));
    assert_eq!(file::placement_of("x.capture"), None);
}
