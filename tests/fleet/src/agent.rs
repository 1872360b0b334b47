//! One host: as the agent, it reports what the control plane does not know, polls, and does what it is
//! told; when the connection breaks it pauses with the agent's own back-off and opens another.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use rustls::ClientConfig;
use tepui_agent::identity::Identity;
use tepui_agent::link::{Pauses, client_config};
use tepui_types::Epoch;
use tepui_types::agent::{
    NodeCapacity, NodeObserved, NodeUsage, POLL_PATH, PollReply, PollRequest, REPORT_PATH, Report,
    ReportReply,
};
use tokio::time::sleep;

use crate::guests::Guests;
use crate::line::{Line, hold, open};
use crate::tally::{Standing, Tally};

/// As the agent's.
const WAIT: Duration = Duration::from_secs(50);

/// What all hosts do alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) handshakes_only: bool,
    /// How long a start of guests takes.
    pub(crate) start: Duration,
    /// They begin spread over this time.
    pub(crate) spread: Duration,
    pub(crate) capacity: NodeCapacity,
}

/// A host.
pub(crate) struct Agent {
    address: Arc<str>,
    tls: Arc<ClientConfig>,
    manner: Manner,
    tally: Arc<Tally>,
    run: u64,
    epoch: Epoch,
    guests: Guests,
    sequence: u64,
    reported: u64,
}

impl Agent {
    pub(crate) fn new(
        identity: &Identity,
        address: &str,
        manner: Manner,
        tally: Arc<Tally>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            address: address.into(),
            tls: Arc::new(client_config(identity)?),
            manner,
            tally,
            run: rand::rng().random(),
            epoch: Epoch(0),
            guests: Guests::default(),
            sequence: 0,
            reported: 0,
        })
    }

    /// Lives until the process ends.
    pub(crate) async fn live(mut self) {
        let mut pauses = Pauses::new(self.run);
        let begins: f64 = rand::rng().random();
        sleep(self.manner.spread.mul_f64(begins)).await;
        loop {
            let mut standing = Standing::new(Arc::clone(&self.tally));
            let ended = match self.manner.handshakes_only {
                true => self.hold(&mut standing, &mut pauses).await,
                false => self.session(&mut standing, &mut pauses).await.map(|never| match never {}),
            };
            drop(standing);
            if let Err(error) = ended {
                self.tally.failed(&error);
            }
            pauses.next().await;
        }
    }

    async fn hold(&self, standing: &mut Standing, pauses: &mut Pauses) -> anyhow::Result<()> {
        let stream = open(&self.address, &self.tls).await?;
        pauses.over();
        standing.connected();
        standing.is_back();
        hold(stream).await
    }

    async fn session(&mut self, standing: &mut Standing, pauses: &mut Pauses) -> anyhow::Result<Infallible> {
        let mut line = Line::open(&self.address, &self.tls).await?;
        standing.connected();
        // The first poll of a connection does not wait: its answer tells whether the control plane knows
        // this host's report, after which the host is back.
        let mut wait = Duration::ZERO;
        loop {
            let reply = self.poll(&mut line, wait).await?;
            pauses.over();
            let news = !reply.parts.is_empty();
            self.take(reply.epoch, reply.parts).await;
            if news || reply.wants_report || self.reported == 0 {
                self.report(&mut line).await?;
            }
            standing.is_back();
            wait = WAIT;
        }
    }

    async fn poll(&self, line: &mut Line, wait: Duration) -> anyhow::Result<PollReply> {
        let request = PollRequest {
            epoch: self.epoch,
            agent_run: self.run,
            have: self.guests.have(),
            reported: self.reported,
            wait_ms: u64::try_from(wait.as_millis())?,
        };
        line.post(POLL_PATH, &request).await
    }

    async fn take(&mut self, epoch: Epoch, parts: Vec<tepui_types::agent::Part>) {
        let before = self.guests.running();
        self.epoch = epoch;
        if self.guests.take(parts) {
            sleep(self.manner.start).await;
        }
        self.tally.guests(before, self.guests.running());
    }

    async fn report(&mut self, line: &mut Line) -> anyhow::Result<()> {
        self.sequence += 1;
        let observed = NodeObserved {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: "fleet".to_owned(),
            capacity: self.manner.capacity,
            usage: NodeUsage { disk_free_bytes: self.manner.capacity.disk_gib << 30 },
            applied: self.guests.have(),
            refused: Vec::new(),
            placements: self.guests.observed(),
            impaired: None,
            storage: None,
            io: Vec::new(),
            stalled: Vec::new(),
            findings: Vec::new(),
        };
        let (agent_run, sequence) = (self.run, self.sequence);
        let report = Report { epoch: self.epoch, agent_run, sequence, observed };
        let _: ReportReply = line.post(REPORT_PATH, &report).await?;
        self.reported = sequence;
        self.tally.reported();
        Ok(())
    }
}
