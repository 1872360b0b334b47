//! What goes wrong, but for messages.

use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;
use tepui_libvirt::OffReason;

use super::{Day, Stop};
use crate::events::{Event, HostNumber};

/// Mean time between two faults.
const EVERY_MS: u64 = 60_000;
/// How long a daemon is away after its death.
const AWAY_MS: u64 = 30_000;
/// How long a host is cut off.
const MOST_CUT_OFF_MS: u64 = 1_800_000;
/// How long a host is without power.
const MOST_DARK_MS: u64 = 600_000;
/// Of a thousand deaths of an agent that a fault brings: a record is torn with it.
const TORN: u32 = 200;
/// Between two rounds of the control plane's reconcilers.
const RECONCILE: Duration = Duration::from_secs(120);

impl Day {
    /// One fault, and the time of the next.
    pub(super) async fn fault(&mut self) -> Result<(), Stop> {
        let next = self.soon(EVERY_MS);
        self.queue.add(next, Event::Fault);
        if self.calm {
            return Ok(());
        }
        let host = self.random.random_range(0..self.places.len());
        match self.random.random_range(0..100) {
            0..35 => {
                self.summary.agent_deaths += 1;
                self.agent_dies(host)?;
                self.tear(host)?;
            }
            35..60 => self.partition(host),
            60..68 => self.queue.add(self.now, Event::HostReboots(host)),
            68..90 => self.guest_goes_off(host),
            90..94 => self.queue.add(self.now, Event::ControlDies),
            94..99 => self.drain(host).await?,
            _ => self.clock_jumps(),
        }
        Ok(())
    }

    pub(super) fn agent_starts(&mut self, host: HostNumber) -> Result<(), Stop> {
        if self.places[host].host.agent.is_some() || self.now < self.places[host].dark_until {
            return Ok(());
        }
        self.places[host].host.start_agent()?;
        let at = self.soon(100);
        self.settle_at(host, at);
        let at = self.soon(200);
        self.poll_at(host, at);
        Ok(())
    }

    pub(super) fn agent_dies(&mut self, host: HostNumber) -> Result<(), Stop> {
        self.places[host].stop_agent();
        let at = self.soon(AWAY_MS);
        self.queue.add(at, Event::AgentStarts(host));
        Ok(())
    }

    /// A dead agent's record of one placement is torn.
    fn tear(&mut self, host: HostNumber) -> Result<(), Stop> {
        if !self.happens(TORN) {
            return Ok(());
        }
        let records: Vec<_> = self.places[host].host.records()?.into_iter().collect();
        let Some(record) = records.choose(&mut self.random).copied() else { return Ok(()) };
        self.summary.torn += 1;
        self.places[host].host.tear(record)?;
        self.judge.torn(record);
        Ok(())
    }

    pub(super) fn host_reboots(&mut self, host: HostNumber) -> Result<(), Stop> {
        self.summary.reboots += 1;
        self.places[host].stop_agent();
        self.places[host].host.reboot();
        self.places[host].last_reboot = Some(self.now);
        let at = self.soon(MOST_DARK_MS);
        self.places[host].dark_until = at;
        self.queue.add(at, Event::AgentStarts(host));
        Ok(())
    }

    fn partition(&mut self, host: HostNumber) {
        self.summary.partitions += 1;
        self.places[host].cut_off = true;
        let at = self.soon(MOST_CUT_OFF_MS);
        self.queue.add(at, Event::Heal(host));
    }

    pub(super) fn heal(&mut self, host: HostNumber) -> Result<(), Stop> {
        self.places[host].cut_off = false;
        Ok(())
    }

    fn guest_goes_off(&mut self, host: HostNumber) {
        let guests = self.places[host].host.guests.all();
        let running: Vec<_> = guests.iter().filter(|(_, guest)| guest.running).map(|(id, _)| *id).collect();
        let Some(id) = running.choose(&mut self.random).copied() else { return };
        let reason = if self.random.random_bool(0.5) { OffReason::Guest } else { OffReason::Crashed };
        self.summary.guests_off += 1;
        self.places[host].host.guests.goes_off(id, reason);
        self.judge.went_off(id, self.now);
        // The agent looks every second while guests run.
        let at = self.soon(1000);
        self.settle_at(host, at);
    }

    async fn drain(&mut self, host: HostNumber) -> Result<(), Stop> {
        if let Some(cloud) = self.control.cloud() {
            let schedulable = self.random.random_bool(0.7);
            cloud.set_schedulable(&self.administrator, self.places[host].host.id, schedulable).await?;
        }
        Ok(())
    }

    /// An hour, or days while no client waits: what a client may repeat is remembered for two.
    fn clock_jumps(&mut self) {
        self.summary.jumps += 1;
        let far = self.calls.iter().all(|call| call.is_over());
        let most = if far { 10 * 86_400 } else { 3600 };
        let seconds = self.random.random_range(-most..=most);
        self.control.clock.jump(seconds);
    }

    pub(super) async fn control_dies(&mut self) -> Result<(), Stop> {
        if self.control.cloud().is_none() {
            return Ok(());
        }
        self.summary.control_deaths += 1;
        self.control.die().await;
        // Every open poll ends with its connection.
        for host in 0..self.places.len() {
            if self.places[host].waiting {
                self.poll_later(host);
            }
        }
        let at = self.soon(AWAY_MS);
        self.queue.add(at, Event::ControlStarts);
        Ok(())
    }

    pub(super) async fn control_starts(&mut self) -> Result<(), Stop> {
        if self.control.cloud().is_none() {
            self.control.come_back()?;
            self.nothing_acknowledged_is_lost().await?;
        }
        Ok(())
    }

    pub(super) async fn reconcile(&mut self) -> Result<(), Stop> {
        self.queue.add(self.now + RECONCILE, Event::Reconcile);
        if let Some(cloud) = self.control.cloud() {
            cloud.reconcile_once().await;
        }
        Ok(())
    }

    /// Arms one step of the agent, any.
    pub(super) fn agent_point(&mut self) -> String {
        let steps: Vec<_> = tepui_agent::execute::steps().collect();
        let step = steps.choose(&mut self.random);
        armed(
            step.map(|(operation, step)| tepui_agent::execute::point(*operation, *step)).unwrap_or_default(),
        )
    }

    /// Arms one step of an operation of the control plane.
    pub(super) fn control_point(&mut self, operation: &str) -> String {
        let steps = tepui_core::failpoint::STEPS.iter().find(|(name, _)| *name == operation);
        let steps = steps.map_or(&[][..], |(_, steps)| steps);
        armed(steps.choose(&mut self.random).map(|step| (*step).to_owned()).unwrap_or_default())
    }
}

fn armed(point: String) -> String {
    tepui_types::failpoint::arm(&point, tepui_types::failpoint::Effect::Error);
    point
}

/// Whether the point was passed while it was armed.
pub(super) fn disarm(point: String) -> bool {
    let tripped = tepui_types::failpoint::trips(&point) > 0;
    tepui_types::failpoint::disarm(&point);
    tripped
}

impl super::Place {
    fn stop_agent(&mut self) {
        self.host.agent = None;
        self.waiting = false;
        (self.poll_due, self.settle_due, self.report_due) = (None, None, None);
    }
}
