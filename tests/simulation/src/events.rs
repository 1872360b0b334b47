//! What happens next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tepui_types::agent::{PollReply, Report};

/// Time since the day began.
pub(crate) type Moment = Duration;

/// The number of a host.
pub(crate) type HostNumber = usize;

/// One thing that happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// A client does something.
    Client,
    /// A client repeats a call whose answer it did not get.
    Retry(usize),
    /// An agent asks for its parts.
    Poll { host: HostNumber },
    /// The reply arrives at this process of the agent.
    Reply { host: HostNumber, run: u64, asked: Moment, reply: Box<PollReply> },
    /// The agent looks and works.
    Settle { host: HostNumber },
    /// The agent reports.
    Report { host: HostNumber },
    /// A report of this process that was under way for a while arrives.
    LateReport { host: HostNumber, run: u64, report: Box<Report> },
    /// The agent's process starts.
    AgentStarts(HostNumber),
    /// The host loses power for a while.
    HostReboots(HostNumber),
    /// A host that was cut off from the control plane is reached again.
    Heal(HostNumber),
    /// The control plane is killed.
    ControlDies,
    /// The control plane starts.
    ControlStarts,
    /// The control plane's reconcilers run.
    Reconcile,
    /// Draws the next fault.
    Fault,
    /// Everything is healed, and nothing new begins.
    Calm,
    /// All should be as wanted.
    Compare,
}

struct Entry {
    at: Moment,
    number: u64,
    event: Event,
}

impl Entry {
    fn key(&self) -> (Moment, u64) {
        (self.at, self.number)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Events in order of time, and of their making where that is the same.
#[derive(Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    made: u64,
}

impl Queue {
    pub(crate) fn add(&mut self, at: Moment, event: Event) {
        self.made += 1;
        self.heap.push(Reverse(Entry { at, number: self.made, event }));
    }

    pub(crate) fn next(&mut self) -> Option<(Moment, Event)> {
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.event))
    }
}
