//! The passwords of exports in libvirtd, while guests need them and afterwards.

use std::fs;
use std::time::Instant;

use tepui_libvirt::{DataDisk, DomainState, LibvirtHost, OffReason, Root};
use tepui_types::ExportId;
use uuid::Uuid;

use crate::support::{Guest, PrivateHost, Target, raw_image, wait_for_state};
use crate::{DEADLINE, PATIENCE, off, volume};

/// Those that libvirtd has by its own tool's word.
fn shown(host: &PrivateHost) -> usize {
    let told = host.run("virsh", &["-c", &host.uri(), "secret-list"]);
    told.lines().filter(|line| line.contains("iscsi")).count()
}

async fn left(libvirt: &LibvirtHost) -> Vec<ExportId> {
    let left = libvirt.drop_secrets().await.unwrap().unwrap();
    assert_eq!(libvirt.secrets().await.unwrap(), left);
    left.into_keys().collect()
}

/// What others keep there is theirs.
fn define(host: &PrivateHost, usage: &str, number: u128) {
    let path = host.path().join("secret.xml");
    let uuid = Uuid::from_u128(number);
    let xml = format!(
        "<secret ephemeral='yes' private='yes'><uuid>{uuid}</uuid><usage type='iscsi'><target>{usage}</target></usage></secret>"
    );
    fs::write(&path, xml).unwrap();
    host.run("virsh", &["-c", &host.uri(), "secret-define", path.to_str().unwrap()]);
}

#[tokio::test]
async fn a_password_is_there_while_its_guest_runs_and_with_each_start_and_no_longer() {
    let mut host = PrivateHost::start();
    let file = host.path().join("root.raw");
    raw_image(&file);
    let _target = Target::serve(&host, &file);
    let root = DataDisk { source: Target::source(), ..volume(&host, 'r') }.as_root();
    let guest = Guest::on(&host, 1, Root::Volume(root.clone()));
    let (id, libvirt) = (guest.id(), host.connect(2, DEADLINE).await);
    let (own, old) = (ExportId::from_random(1), ExportId::from_random(2));
    assert_eq!(libvirt.secrets().await.unwrap(), [].into());
    libvirt.start(&guest.spec).await.unwrap();
    guest.wait_for_console("tepui-tiny: boot 1");
    assert_eq!(libvirt.secrets().await.unwrap(), [(own, Uuid::from_u128(7))].into());
    assert_eq!(libvirt.live_disks().await.unwrap(), [(id, vec![root.live()])].into());

    // One of an agent before this one, and one that is none of ours.
    define(&host, &old.to_string(), 8);
    define(&host, "somebody's", 9);
    assert_eq!(libvirt.secrets().await.unwrap().len(), 2);
    for _ in 0..2 {
        assert_eq!(left(&libvirt).await, [own], "a guest that runs is not without");
        assert_eq!(shown(&host), 2);
    }
    libvirt.reset(id).await.unwrap();
    guest.wait_for_console("tepui-tiny: boot 2");
    libvirt.force_off(id).await.unwrap();
    wait_for_state(&libvirt, id, off(OffReason::Requested)).await;
    for _ in 0..2 {
        assert_eq!((left(&libvirt).await, shown(&host)), (vec![], 1));
    }
    assert_eq!(libvirt.live_disks().await.unwrap(), [].into());

    libvirt.start(&guest.spec).await.unwrap();
    guest.wait_for_console("tepui-tiny: boot 3");
    assert_eq!(left(&libvirt).await, [own]);
    // A new libvirtd has none, and its guests run on.
    host.kill_libvirtd();
    host.start_libvirtd();
    wait_for_state(&libvirt, id, DomainState::Running).await;
    assert_eq!((left(&libvirt).await, shown(&host)), (vec![], 0));
    libvirt.force_off(id).await.unwrap();
    libvirt.start(&guest.spec).await.unwrap();
    guest.wait_for_console("tepui-tiny: boot 4");
    libvirt.forget(id).await.unwrap();
    assert_eq!(left(&libvirt).await, []);
}

#[tokio::test]
async fn a_password_goes_with_the_disk_that_a_running_guest_lets_go_of() {
    let host = PrivateHost::start();
    let file = host.path().join("data.raw");
    fs::File::create(&file).unwrap().set_len(16 << 20).unwrap();
    let _target = Target::serve(&host, &file);
    let disk = DataDisk { source: Target::source(), ..volume(&host, 'b') };
    let guest = Guest::new(&host, 1);
    let (id, libvirt) = (guest.id(), host.connect(2, DEADLINE).await);
    libvirt.start(&guest.spec).await.unwrap();
    guest.wait_for_console("tepui-tiny: user code");
    let own = ExportId::from_random(1);
    let begun = Instant::now();
    for _ in 0..2 {
        let live = libvirt.set_disks(id, vec![disk.clone()], vec![]).await.unwrap();
        assert_eq!((live.disks, left(&libvirt).await), (vec![disk.live()], vec![own]));
        while !libvirt.set_disks(id, vec![], vec![own.to_string()]).await.unwrap().disks.is_empty() {
            assert!(begun.elapsed() < PATIENCE, "the guest keeps its disk");
        }
        assert_eq!((left(&libvirt).await, shown(&host)), (vec![], 0));
    }
    libvirt.forget(id).await.unwrap();
}
