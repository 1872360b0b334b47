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
    pub(crate) now: Moment,
    /// Everything that was wanted before this is known to it.
    pub(crate) since: Moment,
    /// Shutdowns that it had begun.
    pub(crate) begun: BTreeSet<PlacementId>,
    pub(crate) last_reboot: Option<Moment>,
}

/// What happened to one instance on its host.
#[derive(Debug)]
struct Life {
    place: (HostNumber, PlacementId),
    started: Moment,
    /// Orders that were given before this are carried out: the agent came to rest with the guest running, and
    /// knew of them. What it does from then on needs a later one.
    carried_out: Option<Moment>,
    /// When the guest went off by itself, if it was not started since.
    off: Option<Moment>,
    /// The agent saw that it is off: not even a reboot of the host may start it.
    is_off_noted: bool,
    /// The agent's record of it was torn, and the agent did not come to rest since.
    is_torn: bool,
    /// It was off then, and is kept off.
    is_kept_off: bool,
}

/// Remembers where each instance is, and what was done with it.
#[derive(Default)]
pub(crate) struct Judge {
    instances: BTreeMap<PlacementId, InstanceId>,
    lives: BTreeMap<InstanceId, Life>,
}

impl Judge {
    /// A part of the desired state said so.
    pub(crate) fn learn(&mut self, placement: PlacementId, instance: InstanceId) {
        self.instances.insert(placement, instance);
    }

    /// Whose placement it is.
    pub(crate) fn instance(&self, placement: PlacementId) -> Option<InstanceId> {
        self.instances.get(&placement).copied()
    }

    /// Its guest went off by itself.
    pub(crate) fn went_off(&mut self, placement: PlacementId, now: Moment) {
        if let Some(life) = self.life(placement) {
            (life.off, life.is_off_noted) = (Some(now), false);
        }
    }

    /// The agent's record of it is torn.
    pub(crate) fn torn(&mut self, placement: PlacementId) {
        if let Some(life) = self.life(placement) {
            life.is_torn = true;
        }
    }

    /// Whether it is off because nobody can tell whether it was.
    pub(crate) fn is_kept_off(&self, instance: InstanceId) -> bool {
        self.lives.get(&instance).is_some_and(|life| life.is_kept_off)
    }

    /// Since when the guest is off by itself.
    pub(crate) fn off_since(&self, instance: InstanceId) -> Option<Moment> {
        self.lives.get(&instance)?.off
    }

    /// The agent came to rest; `guests` are those on its host, and whether they run.
    pub(crate) fn carried_out(
        &mut self,
        known: &Knowledge,
        guests: impl Iterator<Item = (PlacementId, bool)>,
    ) {
        for (placement, is_running) in guests {
            let Some(life) = self.life(placement) else { continue };
            if is_running {
                life.carried_out = life.carried_out.max(Some(known.since));
            } else if life.is_torn {
                (life.off, life.is_off_noted, life.is_kept_off) = (Some(known.now), true, true);
            } else if life.off.is_some_and(|off| known.last_reboot.is_none_or(|at| at < off)) {
                life.is_off_noted = true;
            }
            life.is_torn = false;
        }
    }

    /// What is gone for good needs no memory.
    pub(crate) fn forget(&mut self, is_there: impl Fn(InstanceId) -> bool) {
        self.lives.retain(|id, _| is_there(*id));
        self.instances.retain(|_, id| is_there(*id));
    }

    fn life(&mut self, placement: PlacementId) -> Option<&mut Life> {
        let instance = self.instances.get(&placement)?;
        self.lives.get_mut(instance)
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
        let (here, started) = ((known.host, placement), known.now);
        let first = Life {
            place: here,
            started,
            carried_out: None,
            off: None,
            is_off_noted: false,
            is_torn: false,
            is_kept_off: false,
        };
        let Some(life) = self.lives.get_mut(&instance) else {
            self.lives.insert(instance, first);
            return Ok(());
        };
        if life.place != here {
            return Err(format!("{instance} belongs to {:?} and was started at {here:?}", life.place));
        }
        let promise = promises.get(&instance);
        if let Some(promise) = promise.filter(|promise| !promise.may_be(Desire::Running, known.since)) {
            return Err(format!("{instance} was started although it is wanted {:?}", promise.desire()));
        }
        // Its launch may not be acknowledged yet; then no order came after it.
        let is_asked = !is_carried_out(life, promise.map(|promise| promise.start_sent));
        let went_down_with_host = known.last_reboot.is_some_and(|at| at >= life.started);
        if !is_asked && (life.is_off_noted || !went_down_with_host) {
            return Err(format!("{instance} was started again though nobody asked: {life:?}"));
        }
        *life = Life { carried_out: life.carried_out, is_torn: life.is_torn, ..first };
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
        let refused = |why| Err(format!("the guest of {placement} was reset although {why}"));
        let Some((instance, promise)) = self.promise(promises, placement) else {
            return refused("nobody asked");
        };
        match (promise.reboot_sent, self.lives.get(&instance)) {
            (None, _) => refused("nobody asked"),
            (Some(sent), Some(life)) if is_carried_out(life, Some(sent)) => {
                refused("what was asked is carried out")
            }
            (Some(_), _) => Ok(()),
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

/// Whether an order of this time was carried out; without a time, any. At the very time both may be so.
fn is_carried_out(life: &Life, sent: Option<Moment>) -> bool {
    life.carried_out.is_some_and(|done| sent.is_none_or(|sent| sent < done))
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

        fn ask(&mut self, desire: Desire) {
            self.promise().ask(desire);
        }

        fn promise(&mut self) -> &mut Promise {
            self.promises.get_mut(&instance()).unwrap()
        }

        fn rests(&mut self, since: u64, is_running: bool) {
            let known = knowledge(HOST, since);
            self.judge.carried_out(&known, std::iter::once((placement(), is_running)));
        }

        fn acknowledge(&mut self, seconds: u64) {
            self.promise().acknowledge(at(seconds));
        }
    }

    fn knowledge(host: HostNumber, since: u64) -> Knowledge {
        Knowledge { host, now: at(since), since: at(since), begun: BTreeSet::new(), last_reboot: None }
    }

    #[test]
    fn a_guest_may_be_stopped_only_once_somebody_asked() {
        let mut scene = scene();
        scene.deed(2, Deed::Started(instance())).unwrap();
        scene.deed(2, Deed::Stopped).unwrap_err();
        scene.ask(Desire::Stopped);
        scene.deed(2, Deed::Stopped).unwrap();
        scene.acknowledge(11);
        scene.deed(12, Deed::Started(instance())).unwrap_err();
        scene.deed(5, Deed::Started(instance())).unwrap();
    }

    #[test]
    fn a_refused_call_allows_nothing() {
        let mut scene = scene();
        scene.ask(Desire::Stopped);
        scene.promise().refuse();
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
        scene.rests(2, true);
        scene.judge.went_off(placement(), at(20));
        assert_eq!(scene.judge.off_since(instance()), Some(at(20)));
        scene.deed(21, Deed::Started(instance())).unwrap_err();
        let rebooted = |now| Knowledge { last_reboot: Some(at(21)), ..knowledge(HOST, now) };
        scene.judge.deed(&scene.promises, &rebooted(22), placement(), Deed::Started(instance())).unwrap();
        assert_eq!(scene.judge.off_since(instance()), None);
        scene.judge.went_off(placement(), at(30));
        scene.rests(31, false);
        scene.judge.deed(&scene.promises, &rebooted(32), placement(), Deed::Started(instance())).unwrap_err();
        scene.promise().start_sent = at(40);
        scene.deed(41, Deed::Started(instance())).unwrap();
    }

    #[test]
    fn a_guest_that_nobody_asked_for_again_is_not_started_again() {
        let mut scene = scene();
        scene.deed(2, Deed::Started(instance())).unwrap();
        scene.deed(3, Deed::Started(instance())).unwrap();
        scene.rests(3, true);
        scene.deed(4, Deed::Started(instance())).unwrap_err();
        scene.promises.clear();
        scene.deed(4, Deed::Started(instance())).unwrap_err();
    }

    #[test]
    fn a_disk_goes_only_with_its_instance() {
        let mut scene = scene();
        scene.ask(Desire::Stopped);
        scene.acknowledge(10);
        let known = knowledge(HOST, 12);
        scene.judge.removed(&scene.promises, &known, placement(), "the disk").unwrap_err();
        scene.ask(Desire::Terminated);
        scene.judge.removed(&scene.promises, &known, placement(), "the disk").unwrap();
    }

    #[test]
    fn a_reset_that_nobody_asked_for_and_one_too_many_are_violations() {
        let mut scene = scene();
        scene.deed(2, Deed::Started(instance())).unwrap();
        scene.rests(2, true);
        scene.deed(2, Deed::Reset).unwrap_err();
        scene.promise().reboot_sent = Some(at(3));
        scene.deed(4, Deed::Reset).unwrap();
        scene.rests(4, true);
        scene.deed(5, Deed::Reset).unwrap_err();
    }
}
