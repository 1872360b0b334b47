//! Agents poll, work and report; messages are lost, late or repeated.

use std::time::Duration;

use rand::Rng;
use tepui_types::agent::{PartBody, PlacementPart, PollReply, Report};

use super::{Day, Stop};
use crate::events::{Event, HostNumber, Moment};
use crate::judge::Knowledge;

/// Between two signs of life, and the longest wait of a poll.
const IDLE_SECONDS: u64 = 600;
/// Of a thousand messages.
const LOST: u32 = 5;
const LATE: u32 = 5;
/// Of a thousand passes of an agent.
const DIES_AT_A_STEP: u32 = 2;

impl Day {
    /// Ends the waits of polls that the control plane woke.
    pub(super) fn wake_polls(&mut self) {
        for host in 0..self.places.len() {
            let place = &mut self.places[host];
            if place.waiting && place.wakes.has_changed().unwrap_or(true) {
                place.waiting = false;
                let at = self.soon(20);
                self.poll_at(host, at);
            }
        }
    }

    pub(super) fn poll_at(&mut self, host: HostNumber, at: Moment) {
        self.places[host].waiting = false;
        self.places[host].poll_due = Some(at);
        self.queue.add(at, Event::Poll { host });
    }

    /// As the agent waits after a failed try, with jitter.
    pub(super) fn poll_later(&mut self, host: HostNumber) {
        let at = self.soon(15_000);
        self.poll_at(host, at);
    }

    pub(super) fn settle_at(&mut self, host: HostNumber, at: Moment) {
        let due = &mut self.places[host].settle_due;
        if due.is_none_or(|due| at < due) {
            *due = Some(at);
            self.queue.add(at, Event::Settle { host });
        }
    }

    fn report_at(&mut self, host: HostNumber, at: Moment) {
        self.places[host].report_due = Some(at);
        self.queue.add(at, Event::Report { host });
    }

    pub(super) async fn poll(&mut self, host: HostNumber) -> Result<(), Stop> {
        let place = &mut self.places[host];
        if place.poll_due != Some(self.now) {
            return Ok(());
        }
        place.poll_due = None;
        let (id, cut_off) = (place.host.id, place.cut_off);
        let Some(agent) = place.host.agent.as_ref() else { return Ok(()) };
        let request = agent.poll()?;
        let Some(cloud) = self.control.cloud().filter(|_| !cut_off) else {
            self.poll_later(host);
            return Ok(());
        };
        if self.happens(LOST) {
            self.summary.messages += 1;
            self.poll_later(host);
            return Ok(());
        }
        self.places[host].wakes = cloud.wake_ups(id);
        let run = request.agent_run;
        let reply = cloud.poll(id, request).await?.owned();
        if reply.wants_report {
            let at = self.soon(20);
            self.report_at(host, at);
        }
        if reply.parts.is_empty() {
            self.wait_for_news(host);
        } else {
            self.send_reply(host, run, reply);
        }
        Ok(())
    }

    /// The poll stays open until it is woken or its time is over.
    fn wait_for_news(&mut self, host: HostNumber) {
        let spread = self.random.random_range(0..60_000);
        let at = self.now + Duration::from_secs(IDLE_SECONDS) + Duration::from_millis(spread);
        self.poll_at(host, at);
        self.places[host].waiting = true;
    }

    fn send_reply(&mut self, host: HostNumber, run: u64, reply: PollReply) {
        let asked = self.now;
        if self.happens(LOST) {
            self.summary.messages += 1;
            self.poll_later(host);
            return;
        }
        let late = self.happens(LATE);
        self.summary.messages += u64::from(late);
        let at = self.soon(if late { 60_000 } else { 50 });
        self.queue.add(at, Event::Reply { host, run, asked, reply: Box::new(reply) });
    }

    pub(super) fn reply(
        &mut self,
        host: HostNumber,
        run: u64,
        asked: Moment,
        reply: PollReply,
    ) -> Result<(), Stop> {
        let place = &mut self.places[host];
        let Some(agent) = place.host.agent.as_ref().filter(|agent| agent.run == run) else { return Ok(()) };
        for part in &reply.parts {
            learn(&mut self.judge, &part.body);
        }
        if agent.take(reply)? {
            place.known_since = place.known_since.max(asked);
            let at = self.soon(20);
            self.settle_at(host, at);
        }
        if self.places[host].poll_due.is_none_or(|due| due < self.now) {
            let at = self.soon(5);
            self.poll_at(host, at);
        }
        Ok(())
    }

    pub(super) async fn settle(&mut self, host: HostNumber) -> Result<(), Stop> {
        if self.places[host].settle_due != Some(self.now) {
            return Ok(());
        }
        self.places[host].settle_due = None;
        let dies = self.happens(DIES_AT_A_STEP);
        let point = dies.then(|| self.agent_point());
        let known = self.knowledge(host);
        let before = self.places[host].host.disks()?;
        let Some(agent) = self.places[host].host.agent.as_mut() else { return Ok(()) };
        let pause = agent.settle().await;
        let (settled, news) = (agent.is_settled(), agent.has_news());
        let tripped = point.is_some_and(super::faults::disarm);
        let after = self.places[host].host.disks()?;
        self.judge_deeds(host, &known)?;
        for gone in before.difference(&after) {
            self.broken(self.judge.removed(&self.promises, &known, *gone, "the disk"))?;
        }
        if tripped {
            self.summary.agent_deaths += 1;
            return self.agent_dies(host);
        }
        let guests = self.places[host].host.guests.all();
        self.judge.carried_out(&known, guests.into_iter().map(|(id, guest)| (id, guest.running)));
        if !settled {
            self.settle_at(host, self.now + pause.max(Duration::from_millis(1)));
        }
        if news {
            let at = self.soon(20);
            self.report_at(host, at);
        }
        Ok(())
    }

    fn knowledge(&self, host: HostNumber) -> Knowledge {
        let place = &self.places[host];
        let begun = place.host.agent.as_ref().map(|agent| agent.begun_shutdowns()).unwrap_or_default();
        let (now, last_reboot) = (self.now, place.last_reboot);
        Knowledge { host, now, since: place.known_since, begun, last_reboot }
    }

    fn judge_deeds(&mut self, host: HostNumber, known: &Knowledge) -> Result<(), Stop> {
        for (placement, deed) in self.places[host].host.guests.take_journal() {
            self.trace(placement.bits() as u64);
            if let crate::guests::Deed::Started(_) = deed {
                self.summary.starts += 1;
            }
            let verdict = self.judge.deed(&self.promises, known, placement, deed);
            self.broken(verdict)?;
        }
        Ok(())
    }

    pub(super) fn broken(&self, verdict: Result<(), String>) -> Result<(), Stop> {
        verdict.map_err(Stop::Broken)
    }

    pub(super) async fn report(&mut self, host: HostNumber) -> Result<(), Stop> {
        if self.places[host].report_due != Some(self.now) {
            return Ok(());
        }
        self.places[host].report_due = None;
        let place = &mut self.places[host];
        let (boot, capacity) = (place.host.boot_id(), place.host.capacity);
        let Some(agent) = place.host.agent.as_mut().filter(|agent| agent.has_looked()) else {
            return Ok(());
        };
        let (run, report) = (agent.run, Box::new(agent.report(boot, capacity)));
        if self.happens(LATE) {
            self.summary.messages += 1;
            let at = self.soon(60_000);
            self.queue.add(at, Event::LateReport { host, run, report: report.clone() });
        }
        let (sequence, applied) = (report.sequence, report.observed.applied.clone());
        let sent = !self.happens(LOST) && self.send_report(host, *report).await?;
        let answered = sent && !self.happens(LOST);
        if let Some(agent) = self.places[host].host.agent.as_mut().filter(|_| answered) {
            agent.acknowledge(sequence, applied);
        }
        self.summary.messages += u64::from(!answered);
        let at = if answered {
            self.now
                + Duration::from_secs(IDLE_SECONDS)
                + Duration::from_millis(self.random.random_range(0..60_000))
        } else {
            self.soon(15_000)
        };
        self.report_at(host, at);
        Ok(())
    }

    pub(super) async fn late_report(
        &mut self,
        host: HostNumber,
        run: u64,
        report: Report,
    ) -> Result<(), Stop> {
        // The connection of a dead process is gone, with what was on it.
        if self.places[host].host.agent.as_ref().is_some_and(|agent| agent.run == run) {
            self.send_report(host, report).await?;
        }
        Ok(())
    }

    /// Whether the control plane took it.
    async fn send_report(&mut self, host: HostNumber, report: Report) -> Result<bool, Stop> {
        let place = &self.places[host];
        let id = place.host.id;
        let Some(cloud) = self.control.cloud().filter(|_| !place.cut_off) else { return Ok(false) };
        let dies = self.happens(1);
        let point = dies.then(|| self.control_point("report"));
        let taken = cloud.report(id, report).await;
        if point.is_some_and(super::faults::disarm) {
            drop(cloud);
            self.control_dies().await?;
            return Ok(false);
        }
        taken?;
        Ok(true)
    }
}

fn learn(judge: &mut crate::judge::Judge, body: &PartBody) {
    let PartBody::Node(node) = body else { return };
    for placement in &node.placements {
        if let PlacementPart::Present(spec) = &placement.wanted {
            judge.learn(placement.id, spec.instance_id);
        }
    }
}
