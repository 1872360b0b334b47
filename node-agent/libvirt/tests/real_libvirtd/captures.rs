//! Captures of the root disks of running guests.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use tepui_libvirt::{CaptureState, DomainState, FreezeAnswer, LibvirtHost, domain_name};
use tepui_types::agent::FreezeKind;

use crate::support::{Guest, PrivateHost, raw_image, wait_for_state};
use crate::{DEADLINE, PATIENCE};

const MIB: u64 = 1 << 20;
/// Far behind what the guest itself uses of its disk.
const BYTES: u64 = 1024 * MIB;

/// Writes this byte over a stretch of the guest's root disk, as the guest would, without a flush.
fn write(host: &PrivateHost, guest: &Guest, byte: u8, (from, length): (u64, u64)) {
    let device = "/machine/peripheral/virtio-disk0/virtio-backend";
    let command = format!("qemu-io -d {device} \"write -P {byte} {from} {length}\"");
    let name = domain_name(guest.id());
    let told = host.run("virsh", &["-c", &host.uri(), "qemu-monitor-command", &name, "--hmp", &command]);
    assert_eq!(told.trim(), "", "qemu-io says nothing where all is well");
}

/// A file for a capture, which is not there yet.
fn target(host: &PrivateHost) -> PathBuf {
    let path = host.path().join("root.capture");
    let _ = std::fs::remove_file(&path);
    path
}

/// What the capture holds as a disk.
fn raw(host: &PrivateHost, capture: &Path) -> PathBuf {
    let raw = host.path().join("raw");
    let paths = [capture.to_str().unwrap(), raw.to_str().unwrap()];
    host.run("qemu-img", &["convert", "-q", "-f", "qcow2", "-O", "raw", paths[0], paths[1]]);
    raw
}

async fn ended(libvirt: &LibvirtHost, guest: &Guest) -> CaptureState {
    let begun = std::time::Instant::now();
    loop {
        match libvirt.capture_state(guest.id()).await.unwrap() {
            CaptureState::UnderWay => assert!(begun.elapsed() < PATIENCE, "it never ends"),
            ended => return ended,
        }
        tokio::task::yield_now().await;
    }
}

fn read(path: &Path, from: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    File::open(path).unwrap().read_exact_at(&mut bytes, from).unwrap();
    bytes
}

/// A guest with a disk of [`BYTES`] that has booted, and has counted this on its disk.
async fn booted(host: &PrivateHost, libvirt: &LibvirtHost) -> Guest {
    let guest = Guest::new(host, 1);
    let overlay = guest.overlay().path.to_str().unwrap().to_owned();
    host.run("qemu-img", &["resize", "-q", "-f", "qcow2", &overlay, &BYTES.to_string()]);
    assert!(!libvirt.begin_capture(guest.id(), &target(host)).await.unwrap(), "it does not run yet");
    libvirt.start(&guest.spec).await.unwrap();
    guest.wait_for_console("tepui-tiny: boot 1");
    guest
}

#[tokio::test]
async fn a_capture_has_all_that_the_guest_wrote_before_it_and_the_guest_runs_on() {
    let host = PrivateHost::start();
    let libvirt = host.connect(2, DEADLINE).await;
    let guest = booted(&host, &libvirt).await;
    let (qemu, place) = (host.qemu_pid(guest.id()), (BYTES - MIB, 65_536));
    for byte in [0x5a, 0x5b] {
        write(&host, &guest, byte, place);
        let to = target(&host);
        assert!(libvirt.begin_capture(guest.id(), &to).await.unwrap());
        // What is written once it began is not in it.
        write(&host, &guest, 0x77, place);
        assert_eq!(ended(&libvirt, &guest).await, CaptureState::Whole);
        let (taken, image) = (raw(&host, &to), host.path().join("image"));
        assert!(read(&taken, place.0, place.1).iter().all(|read| *read == byte), "{byte:x}");
        raw_image(&image);
        assert!(read(&taken, 0, 512) == read(&image, 0, 512), "it has what the image has");
        assert_eq!(taken.metadata().unwrap().len(), BYTES);
        let blocks = to.metadata().unwrap().blocks();
        assert!(blocks * 512 < 256 * MIB, "{blocks} blocks for what is hardly written");
    }
    assert_eq!(host.qemu_pid(guest.id()), qemu);
    libvirt.reset(guest.id()).await.unwrap();
    guest.wait_for_console("tepui-tiny: boot 2");
    libvirt.forget(guest.id()).await.unwrap();
}

#[tokio::test]
async fn a_capture_that_is_called_off_or_loses_its_guest_has_failed_and_leaves_no_job() {
    let host = PrivateHost::start();
    let libvirt = host.connect(2, DEADLINE).await;
    let guest = booted(&host, &libvirt).await;
    let jobs = || host.run("virsh", &["-c", &host.uri(), "domjobinfo", &domain_name(guest.id())]);
    for part in 2..7 {
        write(&host, &guest, 0x5a, (BYTES / 8 * part, BYTES / 8));
    }
    for _ in 0..2 {
        assert!(libvirt.begin_capture(guest.id(), &target(&host)).await.unwrap());
        libvirt.abort_capture(guest.id()).await.unwrap();
        let called_off = ended(&libvirt, &guest).await;
        assert!(matches!(called_off, CaptureState::Failed(_)), "{called_off:?}");
        assert!(jobs().contains("None"), "{}", jobs());
    }
    libvirt.abort_capture(guest.id()).await.unwrap();
    wait_for_state(&libvirt, guest.id(), DomainState::Running).await;
    assert!(libvirt.begin_capture(guest.id(), &target(&host)).await.unwrap());
    libvirt.force_off(guest.id()).await.unwrap();
    let without_guest = ended(&libvirt, &guest).await;
    assert!(matches!(without_guest, CaptureState::Failed(_)), "{without_guest:?}");
    libvirt.forget(guest.id()).await.unwrap();
}

/// As where snapshots are asked for of all disks of an instance.
#[tokio::test]
async fn a_guest_is_paused_and_resumed_beside_a_capture_which_is_whole() {
    let host = PrivateHost::start();
    let libvirt = host.connect(2, DEADLINE).await;
    let guest = booted(&host, &libvirt).await;
    let place = (BYTES / 4, BYTES / 2);
    write(&host, &guest, 0x5a, place);
    let to = target(&host);
    assert!(libvirt.begin_capture(guest.id(), &to).await.unwrap());
    for _ in 0..2 {
        let paused = libvirt.freeze(guest.id(), FreezeKind::Vcpus).await.unwrap();
        assert_eq!(paused, FreezeAnswer::Frozen(1));
        assert_eq!(libvirt.thaw(guest.id(), FreezeKind::Vcpus).await.unwrap(), Some(1));
    }
    assert_eq!(libvirt.freeze(guest.id(), FreezeKind::Vcpus).await.unwrap(), FreezeAnswer::Frozen(1));
    assert_eq!(
        ended(&libvirt, &guest).await,
        CaptureState::Whole,
        "also where it ends while the guest is paused"
    );
    assert_eq!(libvirt.thaw(guest.id(), FreezeKind::Vcpus).await.unwrap(), Some(1));
    assert!(read(&raw(&host, &to), place.0, MIB).iter().all(|read| *read == 0x5a));
    // One begins while the guest is paused, too.
    assert_eq!(libvirt.freeze(guest.id(), FreezeKind::Vcpus).await.unwrap(), FreezeAnswer::Frozen(1));
    assert!(libvirt.begin_capture(guest.id(), &target(&host)).await.unwrap());
    assert_eq!(libvirt.thaw(guest.id(), FreezeKind::Vcpus).await.unwrap(), Some(1));
    assert_eq!(ended(&libvirt, &guest).await, CaptureState::Whole);
    libvirt.forget(guest.id()).await.unwrap();
}
