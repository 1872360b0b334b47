//! Everything is healed and awaited; then all that was promised must be so, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tepui_db::InstanceDb as _;
use tepui_db::NodeDb as _;
use tepui_db::model::{InstanceRecord, InstanceState};
use tepui_types::{InstanceId, NodeId, PlacementId};

use super::{Day, Stop};
use crate::events::{Event, HostNumber, Moment};
use crate::promises::{Desire, Promise};

/// Longer than every pause of agents and clients, and than the memory of a second agent.
const AWAIT: Duration = Duration::from_secs(1800);

impl Day {
    pub(super) async fn calm_down(&mut self) -> Result<(), Stop> {
        self.calm = true;
        self.control_starts().await?;
        for host in 0..self.places.len() {
            self.places[host].cut_off = false;
            self.places[host].dark_until = self.now;
            self.agent_starts(host)?;
            let id = self.places[host].host.id;
            self.cloud_now()?.set_schedulable(&self.administrator, id, true).await?;
        }
        self.queue.add(self.now + AWAIT, Event::Compare);
        Ok(())
    }

    pub(super) async fn compare(&mut self) -> Result<(), Stop> {
        if let Some(call) = self.calls.iter().find(|call| !call.is_over()) {
            return Err(Stop::Broken(format!("{call:?} was never answered")));
        }
        self.calls.clear();
        self.doctor_finds_nothing().await?;
        let records = self.records().await?;
        self.hosts_are_well(&records).await?;
        self.promises_are_kept(&records)?;
        self.hosts_hold_what_rows_say(&records)?;
        self.loads_are_sums(&records).await?;
        // What is gone for good needs no memory, and all else is settled.
        self.promises.retain(|_, promise| promise.desire() != Desire::Terminated);
        self.judge.forget(|id| records.contains_key(&id));
        self.calm = false;
        Ok(())
    }

    /// Every instance that is not terminated.
    async fn records(&self) -> Result<BTreeMap<InstanceId, InstanceRecord>, Stop> {
        let db = self.control.db().ok_or_else(|| anyhow::anyhow!("the control plane is down"))?;
        let records = db.all_instances().await.map_err(anyhow::Error::from)?;
        Ok(records.into_iter().map(|record| (record.instance.id, record)).collect())
    }

    pub(super) async fn nothing_acknowledged_is_lost(&self) -> Result<(), Stop> {
        let records = self.records().await?;
        let wanted = self.promises.iter().filter(|(_, promise)| promise.desire() != Desire::Terminated);
        for (id, _) in wanted {
            if !records.contains_key(id) {
                return Err(Stop::Broken(format!("{id} was acknowledged and is not in the database")));
            }
        }
        Ok(())
    }

    async fn doctor_finds_nothing(&self) -> Result<(), Stop> {
        let mut findings = self.cloud_now()?.doctor(&self.administrator).await?;
        let kept_off: BTreeSet<_> = self
            .promises
            .keys()
            .filter(|id| self.judge.is_kept_off(**id))
            .map(|id| format!("instance {id}"))
            .collect();
        findings.retain(|one| !(kept_off.contains(&one.object) && one.what.contains("record of it is lost")));
        if findings.is_empty() {
            return Ok(());
        }
        let text: Vec<_> = findings.iter().map(|one| format!("{}: {}", one.object, one.what)).collect();
        Err(Stop::Broken(format!("doctor finds\n{}", text.join("\n"))))
    }

    fn promises_are_kept(&self, records: &BTreeMap<InstanceId, InstanceRecord>) -> Result<(), Stop> {
        for id in records.keys() {
            if !self.promises.contains_key(id) {
                return Err(Stop::Broken(format!("{id} exists and nobody was told of it")));
            }
        }
        for (id, promise) in &self.promises {
            let state = records.get(id).map(|record| record.instance.state);
            if !is_kept(promise, state, self.judge.off_since(*id)) {
                let wanted = promise.desire();
                return Err(Stop::Broken(format!("{id} is wanted {wanted:?} and is {state:?}")));
            }
        }
        Ok(())
    }

    fn hosts_hold_what_rows_say(&self, records: &BTreeMap<InstanceId, InstanceRecord>) -> Result<(), Stop> {
        let hosts: BTreeMap<NodeId, HostNumber> =
            self.places.iter().enumerate().map(|(number, place)| (place.host.id, number)).collect();
        let mut wanted: BTreeMap<HostNumber, BTreeMap<PlacementId, bool>> = BTreeMap::new();
        for record in records.values() {
            let Some(placement) = &record.placement else { continue };
            let running = record.instance.state == InstanceState::Running;
            let host = hosts.get(&placement.node_id).copied().unwrap_or(HostNumber::MAX);
            wanted.entry(host).or_default().insert(placement.id, running);
        }
        for (number, place) in self.places.iter().enumerate() {
            let wanted = wanted.remove(&number).unwrap_or_default();
            let guests: BTreeMap<_, _> =
                place.host.guests.all().into_iter().map(|(id, guest)| (id, guest.running)).collect();
            if guests != wanted {
                return Err(Stop::Broken(format!("host {number} has {guests:?}, its rows say {wanted:?}")));
            }
            let disks = place.host.disks()?;
            let with_disks: BTreeSet<_> = wanted.keys().copied().collect();
            if disks != with_disks {
                return Err(Stop::Broken(format!(
                    "host {number} has the disks {disks:?}, not {with_disks:?}"
                )));
            }
        }
        Ok(())
    }

    async fn loads_are_sums(&self, records: &BTreeMap<InstanceId, InstanceRecord>) -> Result<(), Stop> {
        let db = self.control.db().ok_or_else(|| anyhow::anyhow!("the control plane is down"))?;
        let mut sums: BTreeMap<NodeId, (u32, u64)> = BTreeMap::new();
        for record in records.values().filter(|record| record.instance.state == InstanceState::Running) {
            let Some(placement) = &record.placement else { continue };
            let sum = sums.entry(placement.node_id).or_default();
            sum.0 += record.instance.vcpus;
            sum.1 += record.instance.memory_mib;
        }
        for load in db.nodes().await.map_err(anyhow::Error::from)? {
            let sum = sums.remove(&load.node.id).unwrap_or_default();
            let used = (load.used_vcpus, load.used_memory_mib);
            if used != sum {
                let name = &load.node.name;
                return Err(Stop::Broken(format!("{name} counts {used:?} and holds {sum:?}")));
            }
            if load.used_memory_mib > load.node.capacity.memory_mib {
                return Err(Stop::Broken(format!("{} is overfull", load.node.name)));
            }
        }
        Ok(())
    }
}

/// A guest that went off by itself since the last order to start it is stopped, unless its host rebooted before
/// anybody saw it. One that was off before that order runs.
fn is_kept(promise: &Promise, state: Option<InstanceState>, off_since: Option<Moment>) -> bool {
    match (promise.desire(), state) {
        (Desire::Running, Some(InstanceState::Running)) => true,
        (Desire::Running, Some(InstanceState::Stopped)) => {
            off_since.is_some_and(|off| off >= promise.start_sent)
        }
        (Desire::Stopped, Some(InstanceState::Stopped)) => true,
        (Desire::Terminated, None | Some(InstanceState::Terminated)) => true,
        (Desire::Running | Desire::Stopped | Desire::Terminated, _) => false,
    }
}
