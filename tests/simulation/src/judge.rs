//! Holds what is done against what was asked for.

use std::collections::{BTreeMap, BTreeSet};

use tepui_types::{InstanceId, PlacementId};

use crate::events::{HostNumber, Moment};
use crate::guests::Deed;
use crate::promises::{Desire, Promises};

/// A rule was broken.
#[derive(Debug, thiserror::Error)]
#[error("after {at:?} of the day: {what}")]
pub struct Violation {
    /// When.
    pub at: Moment,
    /// Which rule, by which object.
    pub what: String,
}

/// What one host knew when it acted.
pub(crate) struct Knowledge {
    pub(crate) host: HostNumber,
    /// Everything that was wanted before this is known to it.
    pub(crate) since: Moment,
    /// Shutdowns that it had begun.
    pub(crate) begun: BTreeSet<PlacementId>,
    pub(crate) last_reboot: Option<Moment>,
}

/// Remembers where each instance is.
#[derive(Default)]
pub(crate) struct Judge {
    instances: BTreeMap<PlacementId, InstanceId>,
    places: BTreeMap<InstanceId, (HostNumber, PlacementId)>,
}

impl Judge {
    /// A part of the desired state said so.
    pub(crate) fn learn(&mut self, placement: PlacementId, instance: InstanceId) {
        self.instances.insert(placement, instance);
    }

    pub(crate) fn instance(&self, placement: PlacementId) -> Option<InstanceId> {
        self.instances.get(&placement).copied()
    }

    /// One deed of an agent.
    pub(crate) fn deed(
        &mut self,
        promises: &Promises,
        known: &Knowledge,
        placement: PlacementId,
        deed: Deed,
    ) -> Result<(), String> {
        match deed {
            Deed::Started(instance) => self.started(promises, known, placement, instance),
            Deed::Stopped => self.stopped(promises, known, placement),
            Deed::Reset => self.reset(promises, placement),
            Deed::Forgotten => self.removed(promises, known, placement, "its domain"),
        }
    }

    fn started(
        &mut self,
        promises: &Promises,
        known: &Knowledge,
        placement: PlacementId,
        instance: InstanceId,
    ) -> Result<(), String> {
        let here = (known.host, placement);
        let place = *self.places.entry(instance).or_insert(here);
        if place != here {
            return Err(format!("{instance} belongs to {place:?} and was started at {here:?}"));
        }
        // Its launch may not be acknowledged yet.
        let Some(promise) = promises.get(&instance) else { return Ok(()) };
        if !promise.may_be(Desire::Running, known.since) {
            return Err(format!("{instance} was started although it is wanted {:?}", promise.desire()));
        }
        let awaited = |off: Moment| promise.start_asked < off && known.last_reboot.is_none_or(|at| at < off);
        if promise.went_off.is_some_and(awaited) {
            return Err(format!("{instance} went off by itself and was started though nobody asked"));
        }
        Ok(())
    }

    fn stopped(&self, promises: &Promises, known: &Knowledge, placement: PlacementId) -> Result<(), String> {
        let Some((instance, promise)) = self.promise(promises, placement) else {
            return Err(format!("the guest of {placement}, which nobody gave up, was stopped"));
        };
        let asked = [Desire::Stopped, Desire::Terminated].iter().any(|d| promise.may_be(*d, known.since));
        if asked || known.begun.contains(&placement) {
            return Ok(());
        }
        Err(format!("{instance} was stopped although nobody asked"))
    }

    fn reset(&self, promises: &Promises, placement: PlacementId) -> Result<(), String> {
        match self.promise(promises, placement) {
            Some((_, promise)) if promise.reboots > 0 => Ok(()),
            Some(_) | None => Err(format!("the guest of {placement} was reset although nobody asked")),
        }
    }

    /// A domain or a disk was removed.
    pub(crate) fn removed(
        &self,
        promises: &Promises,
        known: &Knowledge,
        placement: PlacementId,
        what: &str,
    ) -> Result<(), String> {
        match self.promise(promises, placement) {
            Some((_, promise)) if promise.may_be(Desire::Terminated, known.since) => Ok(()),
            Some((instance, _)) => Err(format!("{what} of {instance} was removed although nobody asked")),
            None => Err(format!("{what} of {placement}, which nobody gave up, was removed")),
        }
    }

    fn promise<'a>(
        &self,
        promises: &'a Promises,
        placement: PlacementId,
    ) -> Option<(InstanceId, &'a crate::promises::Promise)> {
        let instance = self.instance(placement)?;
        Some((instance, promises.get(&instance)?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::promises::Promise;

    const HOST: HostNumber = 1;

    struct Scene {
        judge: Judge,
        promises: Promises,
    }

    fn at(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    fn instance() -> InstanceId {
        InstanceId::from_random(1)
    }

    fn placement() -> PlacementId {
        PlacementId::from_random(1)
    }

    /// A launch that was asked for at second 0 and acknowledged at second 1.
    fn scene() -> Scene {
        let mut judge = Judge::default();
        judge.learn(placement(), instance());
        let promises = Promises::from([(instance(), Promise::launched(0, at(0), at(1)))]);
        Scene { judge, promises }
    }

    impl Scene {
        fn deed(&mut self, since: u64, deed: Deed) -> Result<(), String> {
            let known = knowledge(HOST, since);
            self.judge.deed(&self.promises, &known, placement(), deed)
        }

        fn ask(&mut self, desire: Desire, seconds: u64) {
            self.promises.get_mut(&instance()).unwrap().ask(desire, at(seconds));
        }

        fn acknowledge(&mut self, seconds: u64) {
            self.promises.get_mut(&instance()).unwrap().acknowledge(at(seconds));
        }
    }

    fn knowledge(host: HostNumber, since: u64) -> Knowledge {
        Knowledge { host, since: at(since), begun: BTreeSet::new(), last_reboot: None }
    }

    #[test]
    fn a_guest_may_be_stopped_only_once_somebody_asked() {
        let mut scene = scene();
        scene.deed(2, Deed::Started(instance())).unwrap();
        scene.deed(2, Deed::Stopped).unwrap_err();
        scene.ask(Desire::Stopped, 10);
        scene.deed(2, Deed::Stopped).unwrap();
        scene.acknowledge(11);
        scene.deed(12, Deed::Started(instance())).unwrap_err();
        scene.deed(5, Deed::Started(instance())).unwrap();
    }

    #[test]
    fn a_refused_call_allows_nothing() {
        let mut scene = scene();
        scene.ask(Desire::Stopped, 10);
        scene.promises.get_mut(&instance()).unwrap().refuse();
        scene.deed(2, Deed::Stopped).unwrap_err();
    }

    #[test]
    fn an_instance_is_never_started_on_a_second_host() {
        let mut scene = scene();
        scene.deed(2, Deed::Started(instance())).unwrap();
        let known = knowledge(HOST + 1, 2);
        scene.judge.deed(&scene.promises, &known, placement(), Deed::Started(instance())).unwrap_err();
    }

    #[test]
    fn a_guest_that_went_off_by_itself_stays_off_until_a_start_or_a_reboot_of_its_host() {
        let mut scene = scene();
        scene.deed(2, Deed::Started(instance())).unwrap();
        scene.promises.get_mut(&instance()).unwrap().went_off = Some(at(20));
        scene.deed(20, Deed::Started(instance())).unwrap_err();
        let rebooted = Knowledge { last_reboot: Some(at(21)), ..knowledge(HOST, 20) };
        scene.judge.deed(&scene.promises, &rebooted, placement(), Deed::Started(instance())).unwrap();
        scene.ask(Desire::Running, 30);
        scene.deed(30, Deed::Started(instance())).unwrap();
    }

    #[test]
    fn a_disk_goes_only_with_its_instance() {
        let mut scene = scene();
        scene.ask(Desire::Stopped, 10);
        scene.acknowledge(10);
        let known = knowledge(HOST, 12);
        scene.judge.removed(&scene.promises, &known, placement(), "the disk").unwrap_err();
        scene.ask(Desire::Terminated, 20);
        scene.judge.removed(&scene.promises, &known, placement(), "the disk").unwrap();
    }

    #[test]
    fn a_reset_that_nobody_asked_for_is_a_violation() {
        let mut scene = scene();
        scene.deed(2, Deed::Reset).unwrap_err();
        scene.promises.get_mut(&instance()).unwrap().reboots = 1;
        scene.deed(2, Deed::Reset).unwrap();
    }
}
