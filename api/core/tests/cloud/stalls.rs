//! Guests that stand still for a volume: who is told, and who is not.

use tepui_core::Health;
use tepui_types::agent::{DiskFailure, DiskObserved, DiskState, NodeObserved, PlacementState, StalledDisk};
use tepui_types::{ExportId, VolumeId};

use crate::volumes::{Site, seen};

impl Site {
    /// The guest runs with its disk, and its host says this of what it waits for.
    async fn stalls(&self, export_id: ExportId, stalled: &[(ExportId, DiskFailure)]) {
        let state = PlacementState::Running { start_seq: 1, reboot_seq: 0 };
        let mut observed = self.compute.observed(vec![(self.placement, state)]);
        let disks: Vec<DiskObserved> = vec![seen(export_id, DiskState::Attached)];
        observed.placements[0].disks = disks;
        let stalled = stalled
            .iter()
            .map(|(export_id, failure)| StalledDisk { export_id: *export_id, failure: *failure });
        self.compute.report_as(1, NodeObserved { stalled: stalled.collect(), ..observed }).await;
    }

    /// What the doctor says of the instance.
    async fn stall_findings(&self) -> Vec<String> {
        let findings = self.t.cloud.doctor(&self.t.admin).await.unwrap();
        let object = format!("instance {}", self.instance);
        let own = findings.into_iter().filter(|one| one.object == object);
        own.map(|one| format!("{}; {}", one.what, one.cure)).collect()
    }

    async fn health(&self) -> Health {
        let record = self.t.cloud.instance(&self.t.admin, self.instance).await.unwrap().record;
        self.t.cloud.health(&record)
    }

    /// What is explained of the volume.
    async fn explained(&self, id: VolumeId) -> Vec<String> {
        let told = self.t.cloud.explain_instance(&self.t.admin, self.instance).await.unwrap();
        let own = told.facts.into_iter().filter(|fact| fact.about == format!("volume {id}"));
        own.map(|fact| fact.says).collect()
    }
}

#[tokio::test]
async fn a_guest_that_stands_still_is_named_with_its_volume_and_pool_and_its_host_takes_others() {
    let site = Site::new().await;
    let (id, export) = site.in_use().await;
    assert_eq!((site.stall_findings().await, site.health().await), (vec![], Health::Ok));

    site.stalls(export, &[(export, DiskFailure::NoSpace)]).await;
    let told = site.stall_findings().await;
    assert!(
        told.len() == 1 && told[0].contains(&format!("pool fast has no room for what it writes to {id}")),
        "{told:?}"
    );
    assert_eq!(site.health().await, Health::Impaired);
    let explained = site.explained(id).await;
    assert!(explained.len() == 1 && explained[0].contains("stands still"), "{explained:?}");
    let other = site.t.run_one(&site.t.admin).await;
    let node = other.instances[0].record.placement.as_ref().unwrap().node_id;
    assert!([site.compute.id, site.storage.id].contains(&node));

    site.stalls(export, &[(export, DiskFailure::Other)]).await;
    let told = site.stall_findings().await;
    assert!(told.len() == 1 && told[0].contains("failed"), "{told:?}");

    site.stalls(export, &[(ExportId::from_random(9), DiskFailure::NoSpace)]).await;
    assert_eq!(
        (site.stall_findings().await, site.health().await),
        (vec![], Health::Ok),
        "of whom no row knows"
    );
    site.stalls(export, &[]).await;
    assert_eq!((site.stall_findings().await, site.explained(id).await), (vec![], vec![]));
}
