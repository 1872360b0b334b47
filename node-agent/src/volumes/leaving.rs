//! Guests that do not let go of a disk at once.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tepui_libvirt::{DataDisk, DomainSpec, DomainStatus, LiveDisk, LiveDisks};
use tepui_types::agent::{Power as Wanted, WantedPlacement};

use super::tests::attached;
use super::*;
use crate::hypervisor::HypervisorError;
use crate::testing::{placement, spec};

/// One guest that takes what it is given, and lets go of a disk when it likes.
#[derive(Default)]
struct Guest {
    keeps: AtomicBool,
    disks: Mutex<Vec<LiveDisk>>,
}

#[async_trait]
impl Hypervisor for Guest {
    async fn domains(&self) -> Result<Vec<DomainStatus>, HypervisorError> {
        Ok(Vec::new())
    }

    async fn start(&self, _: &DomainSpec) -> Result<(), HypervisorError> {
        Ok(())
    }

    async fn request_shutdown(&self, _: PlacementId) -> Result<(), HypervisorError> {
        Ok(())
    }

    async fn force_off(&self, _: PlacementId) -> Result<(), HypervisorError> {
        Ok(())
    }

    async fn reset(&self, _: PlacementId) -> Result<(), HypervisorError> {
        Ok(())
    }

    async fn forget(&self, _: PlacementId) -> Result<(), HypervisorError> {
        Ok(())
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
}

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
    let seen = PlacementObserved { id, state, wanted: true, disks: Vec::new() };
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
