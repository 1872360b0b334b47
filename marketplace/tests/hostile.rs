//! Hostile images are refused by name of the rule, and a host file they point at is never read.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proptest::prelude::*;
use support::{Bench, patch};
use tepui_marketplace::{Format, ImportError, Limits, inspect};

/// Offsets in the qcow2 header, from its specification.
mod at {
    pub(crate) const VERSION: u64 = 4;
    pub(crate) const BACKING_OFFSET: u64 = 8;
    pub(crate) const CLUSTER_BITS: u64 = 20;
    pub(crate) const SIZE: u64 = 24;
    pub(crate) const CRYPT_METHOD: u64 = 32;
    pub(crate) const L1_SIZE: u64 = 36;
    pub(crate) const L1_OFFSET: u64 = 40;
    pub(crate) const REFCOUNT_OFFSET: u64 = 48;
    pub(crate) const SNAPSHOTS: u64 = 60;
    pub(crate) const INCOMPATIBLE: u64 = 72;
    pub(crate) const HEADER_LENGTH: u64 = 100;
    pub(crate) const COMPRESSION: u64 = 104;
}

const CANARY: &[u8] = b"canary-6b1d4f0e-of-the-host";

async fn refusal(bench: &Bench, name: &str) -> String {
    let error = bench.store.import(&bench.path(name), &Limits::default(), None).await.unwrap_err();
    assert!(bench.stored().is_empty(), "{name} left something behind");
    match error {
        ImportError::Refused(refusal) => refusal.to_string(),
        other => panic!("{name} was not refused by inspection: {other}"),
    }
}

#[tokio::test]
async fn images_that_point_at_host_files_are_refused() {
    let bench = Bench::new();
    let mut secret = CANARY.to_vec();
    secret.resize(1 << 20, 0);
    fs::write(bench.path("secret"), &secret).unwrap();
    bench.qemu_img(&["create", "-f", "qcow2", "-F", "raw", "-b", "secret", "backing.qcow2"]);
    bench.qemu_img(&["create", "-f", "qcow2", "-o", "data_file=secret,data_file_raw=on", "data.qcow2", "1M"]);
    fs::write(bench.path("secret"), &secret).unwrap();
    bench.qemu_img(&["create", "-f", "vmdk", "-o", "subformat=monolithicFlat", "flat.vmdk", "1M"]);
    bench.qemu_img(&["create", "-f", "vmdk", "sparse.vmdk", "1M"]);
    bench.qemu_img(&["create", "-f", "vpc", "-o", "subformat=fixed", "fixed.vhd", "1M"]);
    for (name, words) in [
        ("backing.qcow2", "backing file"),
        ("data.qcow2", "external file"),
        ("flat.vmdk", "VMDK descriptor"),
        ("sparse.vmdk", "VMDK disk"),
        ("fixed.vhd", "VHD disk"),
    ] {
        let message = refusal(&bench, name).await;
        assert!(message.contains(words), "{name}: {message}");
    }
}

/// A boot sector in front does not hide what follows, and a qcow2 header that a guest wrote onto
/// its raw disk is read as qcow2 by our rule or not at all.
#[tokio::test]
async fn each_broken_header_field_is_named() {
    let cases: &[(&str, u64, &[u8], &str)] = &[
        ("v1", at::VERSION, &1u32.to_be_bytes(), "qcow2 version 1 is not imported"),
        ("v4", at::VERSION, &4u32.to_be_bytes(), "qcow2 version 4 is not imported"),
        ("backing", at::BACKING_OFFSET, &512u64.to_be_bytes(), "backing file"),
        ("cluster 8", at::CLUSTER_BITS, &8u32.to_be_bytes(), "cluster_bits is 8"),
        ("cluster 63", at::CLUSTER_BITS, &63u32.to_be_bytes(), "cluster_bits is 63"),
        ("size 0", at::SIZE, &0u64.to_be_bytes(), "size is 0"),
        ("1 PiB", at::SIZE, &(1u64 << 50).to_be_bytes(), "the disk has 1125899906842624 bytes"),
        ("odd size", at::SIZE, &1_048_577u64.to_be_bytes(), "multiple of 512"),
        ("aes", at::CRYPT_METHOD, &1u32.to_be_bytes(), "encrypted (method 1)"),
        ("luks", at::CRYPT_METHOD, &2u32.to_be_bytes(), "encrypted (method 2)"),
        ("small l1", at::L1_SIZE, &0u32.to_be_bytes(), "must cover the whole disk"),
        ("huge l1", at::L1_SIZE, &u32::MAX.to_be_bytes(), "at most 32 MiB"),
        ("l1 beyond", at::L1_OFFSET, &(1u64 << 40).to_be_bytes(), "truncated: l1_table_offset"),
        ("l1 unaligned", at::L1_OFFSET, &513u64.to_be_bytes(), "multiple of the cluster size"),
        ("l1 overflow", at::L1_OFFSET, &0xffff_ffff_ffff_0000u64.to_be_bytes(), "truncated"),
        ("refcounts", at::REFCOUNT_OFFSET, &(1u64 << 40).to_be_bytes(), "refcount_table_offset"),
        ("snapshot", at::SNAPSHOTS, &1u32.to_be_bytes(), "1 internal snapshots"),
        ("dirty", at::INCOMPATIBLE, &1u64.to_be_bytes(), "marked dirty"),
        ("corrupt", at::INCOMPATIBLE, &2u64.to_be_bytes(), "marked corrupt"),
        ("data file", at::INCOMPATIBLE, &4u64.to_be_bytes(), "external file"),
        ("unknown bit", at::INCOMPATIBLE, &(1u64 << 40).to_be_bytes(), "0x10000000000"),
        ("header", at::HEADER_LENGTH, &90u32.to_be_bytes(), "header_length is 90"),
        ("compression", at::COMPRESSION, &[7], "compressed by method 7"),
    ];
    let bench = Bench::new();
    for (name, offset, bytes, words) in cases {
        let path = bench.qcow2("case.qcow2");
        patch(&path, *offset, bytes);
        let message = refusal(&bench, "case.qcow2").await;
        assert!(message.contains(words), "{name}: {message}");
    }
}

/// A full L1 table that names one L2 table a million times would else cost terabytes of reading.
#[test]
fn l1_entries_beyond_the_disk_are_not_followed() {
    let bench = Bench::new();
    let path = bench.qcow2("case.qcow2");
    let header = fs::read(&path).unwrap();
    let l1 = u64::from_be_bytes(header[40..48].try_into().unwrap());
    patch(&path, at::L1_SIZE, &2u32.to_be_bytes());
    patch(&path, l1 + 8, &(1u64 << 40).to_be_bytes());
    let inspection = inspect(&fs::File::open(&path).unwrap(), &Limits::default()).unwrap();
    assert_eq!(inspection.virtual_bytes, 1 << 20);
}

#[tokio::test]
async fn extensions_that_name_files_are_refused() {
    let bench = Bench::new();
    for (kind, words) in
        [(0xe279_2acau32, "backing file"), (0x4441_5441, "external file"), (0x0537_be77, "encrypted")]
    {
        let path = bench.qcow2("case.qcow2");
        let header = fs::read(&path).unwrap();
        let length = u32::from_be_bytes(header[100..104].try_into().unwrap());
        patch(&path, length.into(), &kind.to_be_bytes());
        assert!(refusal(&bench, "case.qcow2").await.contains(words));
    }
}

#[tokio::test]
async fn an_image_cut_anywhere_is_truncated() {
    let bench = Bench::new();
    let whole = fs::read(bench.qcow2("whole.qcow2")).unwrap();
    for cut in [0, 3, 71, 103, 512, 65_536, 200_000, whole.len() - 1] {
        fs::write(bench.path("cut.qcow2"), &whole[..cut]).unwrap();
        let message = refusal(&bench, "cut.qcow2").await;
        assert!(message.contains("truncated") || cut < 4 && message.contains("no disk"), "{cut}: {message}");
    }
}

#[tokio::test]
async fn files_that_are_no_disks_are_named() {
    let bench = Bench::new();
    for (bytes, words) in [
        (&b"<!DOCTYPE html><title>404</title>"[..], "web page"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"", "no disk image"),
        (b"just some words", "no disk image"),
    ] {
        fs::write(bench.path("file"), bytes).unwrap();
        let message = refusal(&bench, "file").await;
        assert!(message.contains(words), "{message}");
    }
    let mut odd = vec![0; 1025];
    odd[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(bench.path("file"), odd).unwrap();
    assert!(refusal(&bench, "file").await.contains("1025 bytes"));
}

/// The last wall: should the parser above ever miss a rule, the sandboxed qemu-img still cannot open
/// the host's file. Shown by going around the parser.
#[tokio::test]
async fn the_sandbox_keeps_qemu_img_from_host_files_by_itself() {
    let bench = Bench::new();
    let mut secret = CANARY.to_vec();
    secret.resize(1 << 20, 0);
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), &secret).unwrap();
    fs::set_permissions(outside.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let backing = outside.path().to_str().unwrap();
    bench.qemu_img(&["create", "-f", "qcow2", "-F", "raw", "-b", backing, "case.qcow2"]);
    let target = bench.path("target.raw");
    let file = fs::File::create(&target).unwrap();
    file.set_len(1 << 20).unwrap();
    for path in [&target, &bench.path("case.qcow2")] {
        std::os::unix::fs::chown(path, Some(tepui_marketplace::sandbox::SANDBOX_UID), None).unwrap();
    }
    let converter = tepui_marketplace::Converter::new(env!("CARGO_BIN_EXE_tepui-image-convert").into());
    let error = converter.convert(&bench.path("case.qcow2"), &target, 1 << 20, 1 << 30).await.unwrap_err();
    assert!(error.to_string().contains("Permission denied"), "{error}");
    let written = fs::read(&target).unwrap();
    assert!(!written.windows(CANARY.len()).any(|window| window == CANARY));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_are_judged_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096), magic: bool) {
        let mut bytes = bytes;
        if magic && bytes.len() > 8 {
            bytes[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
        }
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
        let _ = inspect(&file, &Limits::default());
    }

    #[test]
    fn any_damage_to_a_real_header_is_judged_without_panic(
        damage in prop::collection::vec((0u64..512, any::<u8>()), 1..8)
    ) {
        let bench = Bench::new();
        let path = bench.qcow2("case.qcow2");
        for (offset, byte) in damage {
            patch(&path, offset, &[byte]);
        }
        let file = fs::File::open(&path).unwrap();
        if let Ok(inspection) = inspect(&file, &Limits::default()) {
            prop_assert!(inspection.format == Format::Raw || inspection.virtual_bytes <= 1 << 40);
        }
    }
}

/// A process left behind could write into the image after its digest was taken. Whoever lives still
/// holds the pipe that the confined process wrote to.
#[test]
fn nothing_outlives_the_confined_process() {
    let (reader, writer) = std::io::pipe().unwrap();
    // Of a thread of its own: a process namespace is entered for all children to come.
    let status = std::thread::spawn(move || {
        let mut confined = std::process::Command::new("sh");
        tepui_marketplace::sandbox::supervise(confined.args(["-c", "setsid sleep 20 &"]).stdout(writer))
    });
    assert!(status.join().unwrap().unwrap().success());
    let mut watched = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    poll(&mut watched, PollTimeout::ZERO).unwrap();
    assert!(watched[0].revents().unwrap().contains(PollFlags::POLLHUP), "somebody still holds the pipe");
}
