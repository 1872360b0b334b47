//! What nodes said last. Only in memory: heartbeats never reach the store, and after a restart every
//! node has its full time to be heard again. All times are those of the clock that never jumps.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tepui_db::model::{InstanceRecord, NodeLoad};
use tepui_types::agent::{DiskFailure, NodeCapacity, Report};
use tepui_types::{Generation, NodeId, VolumeId};

use crate::Health;

/// A node with what is taken on it and what it said last.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeView {
    /// The rows.
    pub load: NodeLoad,
    /// The time of day when it last polled or reported to this process.
    pub seen_at: Option<Timestamp>,
    /// Its last report to this process.
    pub report: Option<Arc<Report>>,
    /// Two agents use this node's identity.
    pub duplicate_identity: bool,
}

/// How long a sign of a second agent keeps new guests away. Two agents alternate with each poll, at
/// least every minute, so that silence for so long means that one of them is gone.
const DUPLICATE_MEMORY: Duration = Duration::from_secs(600);

/// What a node says of itself, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) capacity: NodeCapacity,
    pub(crate) agent_version: String,
    pub(crate) impaired: Option<String>,
}

#[derive(Default)]
struct Member {
    seen_at: Option<Timestamp>,
    /// It was unreachable when this process began, and has not spoken since.
    presumed_silent: bool,
    report: Option<Arc<Report>>,
    /// The generation of the node's rows at which the report meant nothing new.
    settled: Option<Generation>,
    written: Option<Facts>,
    /// What it did before a backup was restored is in the store.
    adopted: bool,
    /// The current agent process.
    run: u64,
    /// The one before it. One that comes back is a second agent with this identity.
    previous_run: Option<u64>,
    came_back_at: Option<Timestamp>,
    /// Whether the node was silent when the store's state of it was last made to agree.
    agreed: Option<bool>,
    /// Its operator gave it up. Its agent may be heard for a while, and that means nothing.
    given_up: bool,
}

impl Member {
    fn is_duplicate(&self, now: Timestamp) -> bool {
        self.came_back_at.is_some_and(|at| !is_longer_ago(at, now, DUPLICATE_MEMORY))
    }
}

/// What every node said last.
pub(crate) struct Fleet {
    started_at: Timestamp,
    /// Every node of the store is a member.
    surveyed: AtomicBool,
    members: Mutex<HashMap<NodeId, Member>>,
    /// Nodes of which a second agent was ever heard: few, where the members are many.
    suspects: Mutex<BTreeSet<NodeId>>,
}

impl Fleet {
    pub(crate) fn new(started_at: Timestamp) -> Self {
        Self {
            started_at,
            surveyed: AtomicBool::new(false),
            members: Mutex::default(),
            suspects: Mutex::default(),
        }
    }

    fn members(&self) -> MutexGuard<'_, HashMap<NodeId, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a sign of life.
    pub(crate) fn seen(&self, node: NodeId, now: Timestamp) {
        let mut members = self.members();
        let member = members.entry(node).or_default();
        member.seen_at = Some(now);
        member.presumed_silent = false;
    }

    /// Counts a node as silent until it speaks to this process.
    pub(crate) fn presume_silent(&self, node: NodeId) {
        let mut members = self.members();
        let member = members.entry(node).or_default();
        member.presumed_silent = member.seen_at.is_none();
    }

    /// Whether each node is silent, or not, as it was when the store was last made to agree.
    pub(crate) fn is_agreed(&self, now: Timestamp, timeout: Duration) -> bool {
        let silent = |member: &Member| self.silence(Some(member), now, timeout);
        let agrees = |member: &Member| member.given_up || member.agreed == Some(silent(member));
        self.surveyed.load(Ordering::Relaxed) && self.members().values().all(agrees)
    }

    /// Notes for every node of the store whether it was silent when the store was made to agree.
    pub(crate) fn agreed(&self, silences: impl IntoIterator<Item = (NodeId, bool)>) {
        let mut members = self.members();
        for (node, silent) in silences {
            members.entry(node).or_default().agreed = Some(silent);
        }
        self.surveyed.store(true, Ordering::Relaxed);
    }

    /// Notes which agent process spoke; returns whether that is news of a second one.
    pub(crate) fn heard_run(&self, node: NodeId, run: u64, now: Timestamp) -> bool {
        let mut members = self.members();
        let member = members.entry(node).or_default();
        if member.run == run {
            return false;
        }
        let was_duplicate = member.is_duplicate(now);
        let came_back = member.previous_run == Some(run);
        member.previous_run = Some(member.run);
        member.run = run;
        if came_back {
            member.came_back_at = Some(now);
            drop(members);
            self.suspects().insert(node);
        }
        came_back && !was_duplicate
    }

    fn suspects(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The nodes whose identity two agents use.
    pub(crate) fn duplicates(&self, now: Timestamp) -> Vec<NodeId> {
        let suspects: Vec<NodeId> = self.suspects().iter().copied().collect();
        suspects.into_iter().filter(|node| self.is_duplicate(*node, now)).collect()
    }

    /// Whether a report of the same agent process that is as new or newer was taken already.
    pub(crate) fn is_overtaken(&self, node: NodeId, report: &Report) -> bool {
        self.has_report(node, report.agent_run, report.sequence)
    }

    /// Whether this report of an agent process, or a newer one, was taken already.
    pub(crate) fn has_report(&self, node: NodeId, run: u64, sequence: u64) -> bool {
        self.report(node).is_some_and(|old| old.agent_run == run && old.sequence >= sequence)
    }

    /// Keeps a report that was taken, unless a newer one was meanwhile.
    pub(crate) fn keep(&self, node: NodeId, report: Arc<Report>, settled: Option<Generation>) {
        if !self.is_overtaken(node, &report) {
            let mut members = self.members();
            let member = members.entry(node).or_default();
            member.report = Some(report);
            member.settled = settled;
        }
    }

    /// Where this report says of every placement what the last one said: the generation of the node's
    /// rows at which that meant nothing new.
    pub(crate) fn settled(&self, node: NodeId, report: &Report) -> Option<Generation> {
        let members = self.members();
        let member = members.get(&node)?;
        let old = member.report.as_ref()?;
        let same = old.epoch == report.epoch && old.observed.placements == report.observed.placements;
        member.settled.filter(|_| same)
    }

    /// The last report of a node.
    pub(crate) fn report(&self, node: NodeId) -> Option<Arc<Report>> {
        self.members().get(&node).and_then(|member| member.report.clone())
    }

    /// The volumes for which an instance on this node stands still.
    pub(crate) fn stalls(&self, node: NodeId, record: &InstanceRecord) -> Vec<(VolumeId, DiskFailure)> {
        let Some(report) = self.report(node) else { return Vec::new() };
        let of = |export| record.attachments.iter().find(|attachment| attachment.export_id == export);
        let stalled = report.observed.stalled.iter();
        stalled.filter_map(|one| Some((of(one.export_id)?.volume_id, one.failure))).collect()
    }

    /// Whether these facts are in the store, as far as this process knows.
    pub(crate) fn is_written(&self, node: NodeId, facts: &Facts) -> bool {
        self.members().get(&node).is_some_and(|member| member.written.as_ref() == Some(facts))
    }

    /// Notes that these facts are in the store.
    pub(crate) fn wrote(&self, node: NodeId, facts: Facts) {
        self.members().entry(node).or_default().written = Some(facts);
    }

    /// Whether the restored database has taken over what the node did before.
    pub(crate) fn is_adopted(&self, node: NodeId) -> bool {
        self.members().get(&node).is_some_and(|member| member.adopted)
    }

    /// Notes that it has.
    pub(crate) fn adopted(&self, node: NodeId) {
        self.members().entry(node).or_default().adopted = true;
    }

    /// When the node was last heard of; the start of this process counts.
    pub(crate) fn last_seen(&self, node: NodeId) -> Timestamp {
        self.members().get(&node).and_then(|member| member.seen_at).unwrap_or(self.started_at)
    }

    /// Whether two agents use the node's identity.
    pub(crate) fn is_duplicate(&self, node: NodeId, now: Timestamp) -> bool {
        self.members().get(&node).is_some_and(|member| member.is_duplicate(now))
    }

    /// Whether the node was silent for longer than `timeout`.
    pub(crate) fn is_silent(&self, node: NodeId, now: Timestamp, timeout: Duration) -> bool {
        self.silence(self.members().get(&node), now, timeout)
    }

    fn silence(&self, member: Option<&Member>, now: Timestamp, timeout: Duration) -> bool {
        let last_seen = member.and_then(|member| member.seen_at).unwrap_or(self.started_at);
        member.is_some_and(|member| member.presumed_silent) || is_longer_ago(last_seen, now, timeout)
    }

    /// What is wrong with a node, if anything is.
    pub(crate) fn trouble(&self, node: NodeId, now: Timestamp, timeout: Duration) -> Option<Health> {
        if self.is_silent(node, now, timeout) {
            return Some(Health::Unknown);
        }
        let report = self.report(node);
        let impaired = report.is_some_and(|report| report.observed.impaired.is_some());
        (impaired || self.is_duplicate(node, now)).then_some(Health::Impaired)
    }

    pub(crate) fn view(&self, load: NodeLoad, now: Timestamp) -> NodeView {
        let members = self.members();
        let member = members.get(&load.node.id);
        NodeView {
            seen_at: member.and_then(|m| m.seen_at),
            report: member.and_then(|m| m.report.clone()),
            duplicate_identity: member.is_some_and(|m| m.is_duplicate(now)),
            load,
        }
    }

    /// Whether the node was given up while this process runs.
    pub(crate) fn is_given_up(&self, node: NodeId) -> bool {
        self.members().get(&node).is_some_and(|member| member.given_up)
    }

    /// Forgets what a node said that was given up.
    pub(crate) fn forget(&self, node: NodeId) {
        self.members().insert(node, Member { given_up: true, ..Member::default() });
    }
}

/// A time in the future is not long ago: a caller's now is older than the sign of life that came meanwhile.
fn is_longer_ago(at: Timestamp, now: Timestamp, age: Duration) -> bool {
    Duration::try_from(now.duration_since(at)).is_ok_and(|passed| passed > age)
}

#[cfg(test)]
mod tests;
