//! The day: one event after the other.

mod agents;
mod calm;
mod clients;
mod doctors;
mod faults;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tepui_core::{Caller, Cloud, CloudConfig};
use tepui_types::agent::NodeCapacity;
use tokio::sync::watch;

use crate::control::{Control, Tenant};
use crate::events::{Event, HostNumber, Moment, Queue};
use crate::fake_clock;
use crate::host::Host;
use crate::judge::{Judge, Violation};
use crate::promises::Promises;
use clients::Call;

/// How much of what.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Decides everything.
    pub seed: u64,
    /// Simulated hosts.
    pub nodes: u32,
    /// Projects that launch instances.
    pub tenants: u32,
    /// Simulated hours.
    pub hours: u32,
}

/// What happened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Steps taken.
    pub events: u64,
    /// Calls of clients that were acknowledged.
    pub acknowledged: u64,
    /// Calls that were refused, for example because a node was full.
    pub refused: u64,
    /// Messages that were lost, late or repeated.
    pub messages: u64,
    /// Deaths of agents, of those at a fail point.
    pub agent_deaths: u64,
    /// Deaths of the control plane, of those at a fail point.
    pub control_deaths: u64,
    /// Hosts that lost power.
    pub reboots: u64,
    /// Hosts that were cut off for a while.
    pub partitions: u64,
    /// Guests that went off by themselves.
    pub guests_off: u64,
    /// Records of an agent that were torn.
    pub torn: u64,
    /// Times that the clock was set.
    pub jumps: u64,
    /// Starts of guests.
    pub starts: u64,
    /// Folded from every step: equal days have equal ones.
    pub trace: u64,
}

/// A host as the day sees it.
struct Place {
    host: Host,
    cut_off: bool,
    /// It cannot start its agent before this.
    dark_until: Moment,
    /// Due times; an event of another time is out of date.
    poll_due: Option<Moment>,
    settle_due: Option<Moment>,
    report_due: Option<Moment>,
    /// A poll is open at the control plane.
    waiting: bool,
    wakes: watch::Receiver<u64>,
    /// Its agent knows everything that was wanted before this.
    known_since: Moment,
    last_reboot: Option<Moment>,
}

struct Day {
    now: Moment,
    queue: Queue,
    random: StdRng,
    control: Control,
    administrator: Caller,
    tenants: Vec<Tenant>,
    places: Vec<Place>,
    promises: Promises,
    calls: Vec<Call>,
    judge: Judge,
    /// No faults and no new calls.
    calm: bool,
    /// Commits of the database when its books were looked at last.
    commits_seen: u64,
    summary: Summary,
    _folder: tempfile::TempDir,
}

/// How the day ends early.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("{0}")]
    Broken(String),
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

impl From<tepui_core::Error> for Stop {
    fn from(error: tepui_core::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Lives through one day.
///
/// # Errors
/// [`Violation`] where a rule was broken; everything else is a failure of the simulation itself.
pub fn live(scale: Scale) -> anyhow::Result<Summary> {
    fake_clock::run(day(scale))
}

async fn day(scale: Scale) -> anyhow::Result<Summary> {
    let mut day = Day::dawn(scale).await?;
    let result = day.pass(Duration::from_secs(u64::from(scale.hours) * 3600)).await;
    day.control.die().await;
    match result {
        Ok(()) => Ok(day.summary),
        Err(Stop::Broken(what)) => Err(Violation { at: day.now, what }.into()),
        Err(Stop::Failed(error)) => Err(error.context(format!("after {:?} of the day", day.now))),
    }
}

fn settings(folder: PathBuf) -> CloudConfig {
    let mut config = CloudConfig::new("sim-1", folder.join("consoles"));
    // A sign of life every ten minutes: what is between two of them is the same a thousand times over.
    config.node_timeout = Duration::from_secs(2400);
    config
}

impl Day {
    async fn dawn(scale: Scale) -> anyhow::Result<Self> {
        let folder = crate::control::folder()?;
        let config = settings(folder.path().to_owned());
        let control = Control::start(folder.path().to_owned(), scale.seed, config)?;
        let administrator = control.administrator().await?;
        let mut day = Self {
            now: Moment::ZERO,
            queue: Queue::default(),
            random: StdRng::seed_from_u64(scale.seed),
            control,
            administrator,
            tenants: Vec::new(),
            places: Vec::new(),
            promises: Promises::new(),
            calls: Vec::new(),
            judge: Judge::default(),
            calm: false,
            commits_seen: 0,
            summary: Summary::default(),
            _folder: folder,
        };
        day.people(scale).await?;
        Ok(day)
    }

    async fn people(&mut self, scale: Scale) -> anyhow::Result<()> {
        for number in 0..scale.tenants {
            let name = format!("tenant-{number}");
            self.tenants.push(self.control.tenant(&self.administrator, &name).await?);
        }
        let capacity = NodeCapacity { vcpus: 4, memory_mib: 8192, disk_gib: 100 };
        for number in 0..scale.nodes {
            let id = self.control.enrol(&self.administrator, number, capacity).await?;
            let dir = self._folder.path().join(format!("host-{number}"));
            let host = Host::new(id, dir, capacity, scale.seed.wrapping_add(u64::from(number)))?;
            let wakes = self.cloud_now()?.wake_ups(id);
            self.places.push(Place::new(host, wakes));
            let at = self.soon(10_000);
            self.queue.add(at, Event::AgentStarts(number as HostNumber));
        }
        self.queue.add(Duration::from_secs(20), Event::Client);
        self.queue.add(Duration::from_secs(60), Event::Fault);
        self.queue.add(Duration::from_secs(30), Event::Reconcile);
        Ok(())
    }

    async fn pass(&mut self, length: Duration) -> Result<(), Stop> {
        for third in 1..=3 {
            self.queue.add(length * third / 3, Event::Calm);
        }
        while let Some((at, event)) = self.queue.next() {
            self.advance(at).await;
            let is_end = matches!(event, Event::Compare) && at >= length;
            self.happen(event).await?;
            self.books_agree().await?;
            if is_end {
                return Ok(());
            }
            self.wake_polls();
        }
        Ok(())
    }

    async fn advance(&mut self, at: Moment) {
        let passed = at.saturating_sub(self.now);
        self.now = at;
        self.summary.events += 1;
        if !passed.is_zero() {
            self.control.clock.advance(passed);
            tokio::time::advance(passed).await;
        }
    }

    async fn happen(&mut self, event: Event) -> Result<(), Stop> {
        match event {
            Event::Client => self.client().await,
            Event::Retry(call) => self.attempt(call).await,
            Event::Poll { host } => self.poll(host).await,
            Event::Reply { host, run, asked, reply } => self.reply(host, run, asked, *reply),
            Event::Settle { host } => self.settle(host).await,
            Event::Report { host } => self.report(host).await,
            Event::LateReport { host, run, report } => self.late_report(host, run, *report).await,
            Event::AgentStarts(host) => self.agent_starts(host),
            Event::HostReboots(host) => self.host_reboots(host),
            Event::Heal(host) => self.heal(host),
            Event::ControlDies => self.control_dies().await,
            Event::ControlStarts => self.control_starts().await,
            Event::Reconcile => self.reconcile().await,
            Event::Fault => self.fault().await,
            Event::Calm => self.calm_down().await,
            Event::Compare => self.compare().await,
        }
    }

    fn cloud_now(&self) -> anyhow::Result<Arc<Cloud>> {
        self.control.cloud().ok_or_else(|| anyhow::anyhow!("the control plane is down"))
    }

    /// Up to so many milliseconds from now, and at least one.
    fn soon(&mut self, most_ms: u64) -> Moment {
        self.now + Duration::from_millis(self.random.random_range(1..=most_ms))
    }

    fn happens(&mut self, per_thousand: u32) -> bool {
        !self.calm && self.random.random_range(0..1000) < per_thousand
    }

    /// Two days with one seed that differ anywhere have different traces.
    fn trace(&mut self, what: u64) {
        let mixed =
            self.summary.trace.rotate_left(5) ^ what ^ u64::try_from(self.now.as_millis()).unwrap_or(0);
        self.summary.trace = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Place {
    fn new(host: Host, wakes: watch::Receiver<u64>) -> Self {
        Self {
            host,
            cut_off: false,
            dark_until: Moment::ZERO,
            poll_due: None,
            settle_due: None,
            report_due: None,
            waiting: false,
            wakes,
            known_since: Moment::ZERO,
            last_reboot: None,
        }
    }
}
