//! Start, stop, reboot, terminate.

use tepui_db::model::{InstanceRecord, InstanceState};
use tepui_db::{PowerChange, PowerOutcome, StartRequest};
use tepui_types::InstanceId;
use tepui_types::agent::PlacementState;

use super::run::ATTEMPTS;
use crate::audit::listed;
use crate::failpoint::pass;
use crate::{Caller, Cloud, Error, Kind};

/// What a change of power did to one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateChange {
    /// The instance.
    pub id: InstanceId,
    /// Its state before.
    pub before: InstanceState,
    /// Its state now.
    pub after: InstanceState,
}

/// How one of the verbs is named, and what it asks of an instance.
struct Verb {
    action: &'static str,
    steps: [&'static str; 3],
    wanted: &'static str,
    protected_by: &'static str,
}

const START: Verb = Verb {
    action: "StartInstances",
    steps: ["core::start::checked", "core::start::committed", "core::start::woken"],
    wanted: "stopped",
    protected_by: "",
};
const STOP: Verb = Verb {
    action: "StopInstances",
    steps: ["core::stop::checked", "core::stop::committed", "core::stop::woken"],
    wanted: "running, stopping or stopped",
    protected_by: "disable_api_stop",
};
const REBOOT: Verb = Verb {
    action: "RebootInstances",
    steps: ["core::reboot::checked", "core::reboot::committed", "core::reboot::woken"],
    wanted: "running",
    protected_by: "",
};
const TERMINATE: Verb = Verb {
    action: "TerminateInstances",
    steps: ["core::terminate::checked", "core::terminate::committed", "core::terminate::woken"],
    wanted: "any state",
    protected_by: "disable_api_termination",
};

impl Cloud {
    /// Starts stopped instances on the nodes that hold their root disks, or in a new place where they boot from a
    /// volume; one that runs is left alone there, and started if its guest went off and its host had not said so yet.
    ///
    /// # Errors
    /// `NotFound`, `WrongState`, `NodeFull`, `NoCapacity`, `QuotaExceeded`; all or nothing.
    pub async fn start_instances(
        &self,
        caller: &Caller,
        ids: &[InstanceId],
    ) -> Result<Vec<StateChange>, Error> {
        self.change_power(caller, ids, &START, self.start(caller, ids)).await
    }

    /// Chooses places and writes, until no race is lost.
    async fn start(&self, caller: &Caller, ids: &[InstanceId]) -> Result<PowerOutcome, Error> {
        for _ in 0..ATTEMPTS {
            let (places, held) = self.choose_places(caller, ids).await?;
            let request = StartRequest {
                project_id: caller.project,
                ids: ids.to_vec(),
                vcpu_overcommit: self.config.overcommit.vcpus,
                memory_overcommit: self.config.overcommit.memory,
                disk_overcommit: self.config.overcommit.disk,
                places,
            };
            let outcome = self.db.start(&request, self.now()).await?;
            drop(held);
            if !matches!(outcome, PowerOutcome::Unplaced(_)) {
                return Ok(outcome);
            }
        }
        Err(Error::Busy)
    }

    /// Stops instances; disks and private addresses stay. `force` does not ask the guest.
    ///
    /// # Errors
    /// `NotFound`, `WrongState`, `Protected`; all or nothing.
    pub async fn stop_instances(
        &self,
        caller: &Caller,
        ids: &[InstanceId],
        force: bool,
    ) -> Result<Vec<StateChange>, Error> {
        let write = self.power_write(caller, ids, PowerChange::Stop { force });
        self.change_power(caller, ids, &STOP, write).await
    }

    /// Resets running instances. One whose reset is still to come is reset once: so a repeat of a
    /// call that was cut off does not reset it again. Of a host that is silent nobody knows what it did: there
    /// each call counts, and those that come before it carries one out are one reset all the same.
    ///
    /// # Errors
    /// `NotFound`, `WrongState`; all or nothing.
    pub async fn reboot_instances(&self, caller: &Caller, ids: &[InstanceId]) -> Result<(), Error> {
        let mut due = self.records(caller.project, ids).await?;
        due.retain(|record| !self.reset_is_to_come(record));
        let due: Vec<_> = due.iter().map(|record| record.instance.id).collect();
        let write = self.power_write(caller, &due, PowerChange::Reboot);
        self.change_power(caller, ids, &REBOOT, write).await.map(drop)
    }

    /// Ends instances with their disks, from every state.
    ///
    /// # Errors
    /// `NotFound`, `Protected`; all or nothing.
    pub async fn terminate_instances(
        &self,
        caller: &Caller,
        ids: &[InstanceId],
    ) -> Result<Vec<StateChange>, Error> {
        let write = self.power_write(caller, ids, PowerChange::Terminate);
        self.change_power(caller, ids, &TERMINATE, write).await
    }

    /// Whether the node runs the guest and has not said that it carried out the wanted reset.
    fn reset_is_to_come(&self, record: &InstanceRecord) -> bool {
        let Some(placement) = &record.placement else { return false };
        let node = placement.node_id;
        if self.fleet.is_silent(node, self.steady(), self.config.node_timeout) {
            return false;
        }
        let Some(report) = self.fleet.report(node) else { return false };
        let seen = report.observed.placements.iter().find(|seen| seen.id == placement.id);
        record.instance.state == InstanceState::Running
            && seen.is_some_and(|seen| matches!(seen.state, PlacementState::Running { reboot_seq, .. } if reboot_seq < record.instance.reboot_seq))
    }

    async fn power_write(
        &self,
        caller: &Caller,
        ids: &[InstanceId],
        change: PowerChange,
    ) -> Result<PowerOutcome, Error> {
        Ok(self.db.change_power(caller.project, ids, change, self.now()).await?)
    }

    async fn change_power(
        &self,
        caller: &Caller,
        ids: &[InstanceId],
        verb: &Verb,
        write: impl Future<Output = Result<PowerOutcome, Error>>,
    ) -> Result<Vec<StateChange>, Error> {
        if ids.is_empty() {
            return Err(Error::invalid("instance_ids", "", "names at least one instance"));
        }
        let records = self.records(caller.project, ids).await?;
        pass(verb.steps[0])?;
        let changes =
            self.commit(caller, verb.action, listed(ids), async { changed(write.await?, verb) }).await?;
        let passed = pass(verb.steps[1])?;
        self.wakes.wake(passed, records.iter().filter_map(|record| node_of(record)));
        self.wake_places(passed, caller, &records).await;
        pass(verb.steps[2])?;
        Ok(changes)
    }
}

pub(crate) fn node_of(record: &InstanceRecord) -> Option<tepui_types::NodeId> {
    record.placement.as_ref().map(|placement| placement.node_id)
}

fn changed(outcome: PowerOutcome, verb: &Verb) -> Result<Vec<StateChange>, Error> {
    power_result(outcome, verb.wanted, verb.protected_by)
}

/// The store's answer in the domain's words.
pub(super) fn power_result(
    outcome: PowerOutcome,
    wanted: &'static str,
    protected_by: &'static str,
) -> Result<Vec<StateChange>, Error> {
    match outcome {
        PowerOutcome::Changed(changes) => {
            Ok(changes.into_iter().map(|(id, before, after)| StateChange { id, before, after }).collect())
        }
        PowerOutcome::NotFound(id) => Err(Error::not_found(Kind::Instance, id)),
        PowerOutcome::WrongState(id, state) => {
            Err(Error::WrongState { id: id.to_string(), state: state.name().into(), wanted })
        }
        PowerOutcome::Protected(id) => Err(Error::Protected { id: id.to_string(), attribute: protected_by }),
        PowerOutcome::GroupMissing(id) => Err(Error::not_found(Kind::SecurityGroup, id)),
        PowerOutcome::VolumeState(id, state) => Err(Error::WrongState {
            id: id.to_string(),
            state: state.name().into(),
            wanted: "available; detach it first, or delete the instance if it boots from it",
        }),
        PowerOutcome::Unplaced(_) => Err(Error::Busy),
        PowerOutcome::NoCapacity(id) => Err(Error::NodeFull { id: id.to_string() }),
        PowerOutcome::QuotaExceeded(quota, limit, used) => {
            Err(Error::QuotaExceeded { quota, limit, used, asked: 1 })
        }
    }
}
