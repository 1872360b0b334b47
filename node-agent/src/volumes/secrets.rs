//! Passwords of exports in the hypervisor, which go once no guest needs them: an export's opens nothing any more when
//! its guest has let go of it, and a start of a guest that is off tells it anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use tepui_types::agent::{
    DiskObserved, DiskPart, DiskState, NodePart, PlacementObserved, PlacementPart, PlacementState,
};
use tepui_types::{ExportId, PlacementId};

use crate::hypervisor::Hypervisor;

/// Has them taken away. The hypervisor leaves those that a running domain names, whatever is known here.
pub(crate) struct SecretKeeper {
    hypervisor: Arc<dyn Hypervisor>,
    /// The exports whose passwords may be there; `None` before the first look, as an agent before this one told some.
    told: Option<BTreeSet<ExportId>>,
}

impl SecretKeeper {
    /// A keeper that has not looked yet.
    pub(crate) fn new(hypervisor: Arc<dyn Hypervisor>) -> Self {
        Self { hypervisor, told: None }
    }

    /// Has those taken away that no guest needs; whether that is to be tried again. `disks` is what was seen of a
    /// placement's disks last.
    pub(crate) async fn apply(
        &mut self,
        part: &NodePart,
        placements: &[PlacementObserved],
        disks: impl Fn(PlacementId) -> Vec<DiskObserved>,
    ) -> bool {
        let needed = needed(part, placements, disks);
        if let Some(told) = &mut self.told {
            told.extend(&needed);
            // One that nobody names may be a guest's all the same: it is asked for again with the next news.
            if *told == needed {
                return false;
            }
        }
        match self.hypervisor.drop_secrets().await {
            Ok(Some(left)) => {
                self.told = Some(left.into_keys().chain(needed).collect());
                false
            }
            Ok(None) => true,
            Err(error) => {
                tracing::debug!(message = crate::chain(&error), "passwords that nobody needs stay");
                true
            }
        }
    }
}

/// The exports that guests have, or may have: those of a guest that is off are told it when it starts.
fn needed(
    part: &NodePart,
    placements: &[PlacementObserved],
    disks: impl Fn(PlacementId) -> Vec<DiskObserved>,
) -> BTreeSet<ExportId> {
    let mut needed = BTreeSet::new();
    for wanted in &part.placements {
        let PlacementPart::Present(spec) = &wanted.wanted else { continue };
        let state = placements.iter().find(|seen| seen.id == wanted.id).map(|seen| &seen.state);
        if spec.disks.is_empty() || matches!(state, Some(PlacementState::Off { .. } | PlacementState::Gone)) {
            continue;
        }
        let seen = disks(wanted.id);
        let has_let_go = |id| seen.iter().any(|disk| disk.export_id == id && disk.state == DiskState::Absent);
        let of_guest = spec.disks.iter().filter(|disk| match disk.wanted {
            DiskPart::Attached(_) => true,
            DiskPart::Awaited => false,
            DiskPart::Absent => !has_let_go(disk.export_id),
        });
        needed.extend(of_guest.map(|disk| disk.export_id));
    }
    needed
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use tepui_libvirt::DomainStatus;
    use tepui_types::agent::{IoLimits, OffReason, Power, WantedDisk, WantedPlacement};
    use uuid::Uuid;

    use super::super::tests::attached;
    use super::*;
    use crate::hypervisor::HypervisorError;
    use crate::testing::{absent, hypervisor, placement, spec};

    /// A hypervisor that keeps what live domains name, and forgets the rest when it is asked to.
    #[derive(Default)]
    struct Kept {
        secrets: Mutex<BTreeSet<ExportId>>,
        live: Mutex<BTreeSet<ExportId>>,
        asked: Mutex<u32>,
        busy: Mutex<bool>,
    }

    hypervisor!(Kept {
        async fn domains(&self) -> Result<Vec<DomainStatus>, HypervisorError> {
            Ok(Vec::new())
        }

        async fn drop_secrets(&self) -> Result<Option<BTreeMap<ExportId, Uuid>>, HypervisorError> {
            *self.asked.lock().unwrap() += 1;
            if *self.busy.lock().unwrap() {
                return Ok(None);
            }
            let mut secrets = self.secrets.lock().unwrap();
            secrets.retain(|id| self.live.lock().unwrap().contains(id));
            Ok(Some(secrets.iter().map(|id| (*id, Uuid::from_u128(id.bits()))).collect()))
        }
    });

    impl Kept {
        fn told(&self, id: ExportId) {
            self.secrets.lock().unwrap().insert(id);
            self.live.lock().unwrap().insert(id);
        }

        fn secrets(&self) -> Vec<ExportId> {
            self.secrets.lock().unwrap().iter().copied().collect()
        }
    }

    struct Scene {
        hypervisor: Arc<Kept>,
        keeper: SecretKeeper,
        part: NodePart,
        seen: Vec<PlacementObserved>,
        disks: Vec<DiskObserved>,
    }

    impl Scene {
        /// One guest that runs with two volumes.
        fn new() -> Self {
            let hypervisor = Arc::new(Kept::default());
            let mut spec = spec(placement(1), Power::Running { start_seq: 1, reboot_seq: 0 });
            spec.disks = vec![attached(1, "/dev/sdf"), attached(2, "/dev/sdg")];
            spec.disks.iter().for_each(|disk| hypervisor.told(disk.export_id));
            let wanted = WantedPlacement { id: placement(1), wanted: PlacementPart::Present(Box::new(spec)) };
            let keeper = SecretKeeper::new(Arc::clone(&hypervisor) as Arc<dyn Hypervisor>);
            let part = NodePart { placements: vec![wanted] };
            let mut scene = Self { hypervisor, keeper, part, seen: vec![], disks: vec![] };
            scene.sees(PlacementState::Running { start_seq: 1, reboot_seq: 0 });
            scene
        }

        fn sees(&mut self, state: PlacementState) {
            let seen =
                PlacementObserved { id: placement(1), state, wanted: true, disks: Vec::new(), freeze: None };
            self.seen = vec![seen];
        }

        fn volumes(&mut self) -> &mut Vec<WantedDisk> {
            let PlacementPart::Present(spec) = &mut self.part.placements[0].wanted else { panic!("absent") };
            &mut spec.disks
        }

        fn has_let_go(&mut self, number: u128) {
            let (export_id, limits) = (ExportId::from_random(number), IoLimits::NONE);
            self.hypervisor.live.lock().unwrap().remove(&export_id);
            self.disks = vec![DiskObserved { export_id, state: DiskState::Absent, size_bytes: 0, limits }];
        }

        async fn apply(&mut self) -> bool {
            self.keeper.apply(&self.part, &self.seen, |_| self.disks.clone()).await
        }

        fn asked(&self) -> u32 {
            *self.hypervisor.asked.lock().unwrap()
        }
    }

    #[tokio::test]
    async fn a_password_goes_once_its_guest_has_let_go_and_those_of_others_stay() {
        let mut scene = Scene::new();
        let [one, two] = [1, 2].map(ExportId::from_random);
        // An agent before this one left it.
        scene.hypervisor.secrets.lock().unwrap().insert(ExportId::from_random(9));
        assert!(!scene.apply().await && !scene.apply().await);
        assert_eq!((scene.hypervisor.secrets(), scene.asked()), (vec![one, two], 1), "once is enough");
        scene.volumes()[0].wanted = DiskPart::Absent;
        scene.apply().await;
        assert_eq!(scene.asked(), 1, "the guest has it still");
        scene.has_let_go(1);
        *scene.hypervisor.busy.lock().unwrap() = true;
        assert!(scene.apply().await, "somebody is given a disk: again");
        *scene.hypervisor.busy.lock().unwrap() = false;
        assert!(!scene.apply().await);
        assert_eq!((scene.hypervisor.secrets(), scene.asked()), (vec![two], 3));
        scene.volumes().remove(0);
        assert!(!scene.apply().await);
        assert_eq!(scene.asked(), 3);
    }

    #[tokio::test]
    async fn those_of_a_guest_that_is_off_or_removed_go_and_come_with_its_next_start() {
        let mut scene = Scene::new();
        scene.apply().await;
        scene.sees(PlacementState::Off { start_seq: 1, reason: OffReason::Guest });
        scene.hypervisor.live.lock().unwrap().clear();
        scene.apply().await;
        assert_eq!((scene.hypervisor.secrets(), scene.asked()), (vec![], 2));
        assert!(!scene.apply().await);
        assert_eq!(scene.asked(), 2);

        let one = ExportId::from_random(1);
        scene.hypervisor.told(one);
        scene.sees(PlacementState::Running { start_seq: 2, reboot_seq: 0 });
        scene.apply().await;
        assert_eq!((scene.hypervisor.secrets(), scene.asked()), (vec![one], 2));
        // It is to be removed and runs still: it is asked for until the domain is gone.
        scene.part.placements = vec![absent(placement(1), true)];
        scene.apply().await;
        assert_eq!(scene.hypervisor.secrets(), [one]);
        scene.hypervisor.live.lock().unwrap().clear();
        scene.apply().await;
        assert_eq!(scene.hypervisor.secrets(), []);
        let asked = scene.asked();
        scene.apply().await;
        assert_eq!(scene.asked(), asked);
    }
}
