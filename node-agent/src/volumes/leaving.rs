//! Guests that do not let go of a disk at once, and what is counted of their disks and told of those that failed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tepui_libvirt::{DataDisk, DiskCounters, DomainStatus, LiveDisk, LiveDisks};
use tepui_types::agent::{DiskFailure, Power as Wanted, StalledDisk, WantedPlacement};

use super::tests::attached;
use super::*;
use crate::hypervisor::HypervisorError;
use crate::testing::{hypervisor, placement, spec};

/// One guest that takes what it is given, and lets go of a disk when it likes.
#[derive(Default)]
struct Guest {
    keeps: AtomicBool,
    disks: Mutex<Vec<LiveDisk>>,
    /// What it did with its disk at `vdf`; `None` while it does not answer.
    writes: Mutex<Option<u64>>,
    /// Its disks that failed.
    failed: Mutex<Vec<FailedDisk>>,
    asked: AtomicU64,
}

hypervisor!(Guest {
    async fn domains(&self) -> Result<Vec<DomainStatus>, HypervisorError> {
        Ok(Vec::new())
    }

    async fn disk_counters(&self) -> Result<Vec<DiskCounters>, HypervisorError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let writes = self.writes.lock().unwrap().ok_or(HypervisorError::Simulated(placement(1)))?;
        let counters = IoCounters { writes, ..IoCounters::default() };
        let of = |device: &str| DiskCounters { id: placement(1), device: device.into(), counters };
        Ok(["vda", "vdf", "vdz"].map(of).into())
    }

    async fn failed_disks(&self, _: PlacementId) -> Result<Vec<FailedDisk>, HypervisorError> {
        Ok(self.failed.lock().unwrap().clone())
    }

    async fn set_disks(
        &self,
        _: PlacementId,
        wanted: Vec<DataDisk>,
        leaving: Vec<String>,
    ) -> Result<LiveDisks, HypervisorError> {
        let mut disks = self.disks.lock().unwrap();
        let wanted: Vec<_> = wanted.iter().map(DataDisk::live).collect();
        let leaves = |disk: &LiveDisk| leaving.iter().any(|name| disk.source.contains(name));
        disks.retain(|disk| self.keeps.load(Ordering::SeqCst) || !leaves(disk));
        for disk in wanted {
            if !disks.contains(&disk) {
                disks.push(disk);
            }
        }
        Ok(LiveDisks { disks: disks.clone(), unfit: Vec::new() })
    }
});

impl Guest {
    fn count(&self) -> usize {
        self.disks.lock().unwrap().len()
    }
}

/// A part of one guest with these disks, and what is seen of it.
fn of(disks: Vec<WantedDisk>) -> (NodePart, Vec<PlacementObserved>) {
    let id = placement(1);
    let mut spec = spec(id, Wanted::Running { start_seq: 1, reboot_seq: 0 });
    spec.disks = disks;
    let wanted = WantedPlacement { id, wanted: PlacementPart::Present(Box::new(spec)) };
    let state = PlacementState::Running { start_seq: 1, reboot_seq: 0 };
    let seen = PlacementObserved { id, state, wanted: true, disks: Vec::new(), freeze: None };
    (NodePart { placements: vec![wanted] }, vec![seen])
}

fn gone(disk: &WantedDisk) -> WantedDisk {
    WantedDisk { wanted: DiskPart::Absent, ..disk.clone() }
}

#[tokio::test]
async fn a_guest_is_asked_until_it_has_let_go_also_by_the_next_agent() {
    let guest = Arc::new(Guest::default());
    let keeper = || VolumeKeeper::new(Arc::clone(&guest) as Arc<dyn Hypervisor>);
    let disk = attached(1, "/dev/sdf");
    let ((with, seen), (without, _)) = (of(vec![disk.clone()]), of(vec![gone(&disk)]));
    let first = keeper();
    assert_eq!(first.apply(&with, &seen).await, (true, false));
    guest.keeps.store(true, Ordering::SeqCst);
    assert_eq!(first.apply(&without, &seen).await, (true, true));
    assert_eq!(first.apply(&without, &seen).await, (false, true));
    let next = keeper();
    assert_eq!(next.apply(&without, &seen).await, (true, true));
    guest.keeps.store(false, Ordering::SeqCst);
    assert_eq!(next.apply(&without, &seen).await, (true, false));
    assert_eq!(guest.count(), 0);
}

/// Its server has shut it out, and would never answer to QEMU's farewell.
#[tokio::test]
async fn a_disk_that_no_part_names_any_more_is_left_to_its_guest() {
    let guest = Arc::new(Guest::default());
    let keeper = VolumeKeeper::new(Arc::clone(&guest) as Arc<dyn Hypervisor>);
    let (torn, other) = (attached(1, "/dev/sdf"), attached(2, "/dev/sdg"));
    let (both, seen) = of(vec![torn, other.clone()]);
    keeper.apply(&both, &seen).await;
    for disks in [vec![other.clone()], vec![gone(&other)], vec![]] {
        let (part, seen) = of(disks);
        keeper.apply(&part, &seen).await;
    }
    assert_eq!(guest.count(), 1);
}

#[tokio::test]
async fn counters_are_read_of_volumes_in_use_and_are_news_where_they_grew() {
    let guest = Arc::new(Guest::default());
    let keeper = VolumeKeeper::new(Arc::clone(&guest) as Arc<dyn Hypervisor>);
    let set = |writes| *guest.writes.lock().unwrap() = writes;
    let told = || keeper.io().iter().map(|one| (one.export_id, one.counters.writes)).collect::<Vec<_>>();
    set(Some(3));
    assert!(!keeper.count().await && guest.asked.load(Ordering::SeqCst) == 0, "no guest has a volume");
    let disk = attached(1, "/dev/sdf");
    let (part, mut seen) = of(vec![disk.clone()]);
    keeper.apply(&part, &seen).await;
    assert!(keeper.count().await);
    assert_eq!(told(), [(disk.export_id, 3)], "and no other disk of the guest");
    assert!(!keeper.count().await, "an idle guest is no news");
    set(None);
    assert!(!keeper.count().await);
    assert_eq!(told(), [(disk.export_id, 3)], "the last word stays");
    set(Some(4));
    assert!(keeper.count().await);
    assert_eq!(told(), [(disk.export_id, 4)]);
    seen[0].state = PlacementState::Off { start_seq: 1, reason: tepui_types::agent::OffReason::Guest };
    keeper.apply(&part, &seen).await;
    let asked = guest.asked.load(Ordering::SeqCst);
    assert!(keeper.count().await && !keeper.count().await);
    assert_eq!((told(), guest.asked.load(Ordering::SeqCst)), (vec![], asked));
}

#[tokio::test]
async fn a_guest_that_stands_still_does_so_for_its_volumes_or_for_its_host() {
    let guest = Arc::new(Guest::default());
    let keeper = VolumeKeeper::new(Arc::clone(&guest) as Arc<dyn Hypervisor>);
    let (id, disk) = (placement(1), attached(1, "/dev/sdf"));
    let still = [id].into();
    let says = |devices: &[&str]| {
        let failed = |device: &&str| FailedDisk { device: (*device).into(), failure: DiskFailure::NoSpace };
        *guest.failed.lock().unwrap() = devices.iter().map(failed).collect();
    };
    let of_host = Stall { is_hosts: true, volumes: Vec::new() };
    assert_eq!(keeper.stall(id), of_host, "it has no volume");
    let (part, seen) = of(vec![disk.clone()]);
    keeper.apply(&part, &seen).await;
    assert_eq!(keeper.stall(id), Stall::default(), "nobody asked yet");
    assert!(keeper.ask_stalled(&still).await);
    assert_eq!(keeper.stall(id), of_host, "nobody can tell");
    says(&["vdf"]);
    assert!(keeper.ask_stalled(&still).await && !keeper.ask_stalled(&still).await);
    let stalled = vec![StalledDisk { export_id: disk.export_id, failure: DiskFailure::NoSpace }];
    assert_eq!(keeper.stall(id), Stall { is_hosts: false, volumes: stalled.clone() });
    says(&[]);
    assert!(!keeper.ask_stalled(&still).await, "it was made to run a moment ago");
    says(&["vda", "vdf"]);
    assert!(keeper.ask_stalled(&still).await);
    assert_eq!(keeper.stall(id), Stall { is_hosts: true, volumes: stalled });
    assert!(keeper.ask_stalled(&BTreeSet::new()).await, "it goes on");
    assert_eq!(keeper.stall(id), Stall::default());
}
