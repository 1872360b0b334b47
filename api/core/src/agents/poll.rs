//! The long poll.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tepui_types::agent::{HavePart, Part, PartBody, PartKey, PollReply, PollRequest, SharedPart};
use tepui_types::{Epoch, Generation, NodeId, VpcId};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::{Cloud, Error, Kind};

/// Longer waits are cut to this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The generation of a VPC that was deleted. The row that counted its changes is gone; the last of
/// all numbers is newer than any that an agent has, and stays so once it has this one.
const DELETED: Generation = Generation(u64::MAX);

impl Cloud {
    /// Answers with the parts that are newer than those the node has, with the consoles and the content
    /// of snapshots that somebody waits for, and at once where the report that the node names is not here; waits for the first of them,
    /// or until the deadline.
    ///
    /// # Errors
    /// `NotFound` for an unknown node, and those of the store.
    pub async fn poll(
        &self,
        node: NodeId,
        request: PollRequest,
    ) -> Result<PollReply<Arc<SharedPart>>, Error> {
        self.hear(node, request.agent_run);
        let deadline = Instant::now() + Duration::from_millis(request.wait_ms).min(LONGEST_WAIT);
        let mut wakes = self.wakes.subscribe(node);
        self.wakes.has(node, &request.have);
        loop {
            wakes.borrow_and_update();
            let turn = self.host_turn().await?;
            let reply = self.news(node, &request).await?;
            drop(turn);
            let waited_for = !reply.wanted_consoles.is_empty() || !reply.wanted_sendings.is_empty();
            let news = !reply.parts.is_empty() || waited_for || reply.wants_report;
            // The answer is no sign of the node's life: nobody may be there to read it.
            if news || timeout_at(deadline, wakes.changed()).await.is_err() {
                return Ok(reply);
            }
        }
    }

    /// Counts the wake-ups of a node's poll, for a driver that waits on a clock of its own.
    pub fn wake_ups(&self, node: NodeId) -> watch::Receiver<u64> {
        self.wakes.subscribe(node)
    }

    /// Whether a poll of this node is open.
    pub fn is_waited_for(&self, node: NodeId) -> bool {
        self.wakes.is_waited_for(node)
    }

    /// Notes a sign of life of an agent process.
    pub(super) fn hear(&self, node: NodeId, run: u64) {
        let now = self.steady();
        let was_silent = self.fleet.is_silent(node, now, self.config.node_timeout);
        self.fleet.seen(node, now);
        if was_silent {
            self.reconcile.notify_one();
        }
        if self.fleet.heard_run(node, run, now) {
            tracing::error!(%node, "alarm: two agents use this node's identity");
        }
    }

    async fn news(&self, node: NodeId, request: &PollRequest) -> Result<PollReply<Arc<SharedPart>>, Error> {
        let epoch = self.epoch().await?;
        // What the agent has from another life of the database is no measure of what is new.
        let same_life = request.epoch == epoch;
        let wants_report =
            request.reported > 0 && !self.fleet.has_report(node, request.agent_run, request.reported);
        if self.is_to_be_adopted(node, request.epoch, epoch) {
            return Ok(self.reply(node, epoch, Vec::new(), wants_report));
        }
        let have: HashMap<PartKey, Generation> =
            request.have.iter().map(|part| (part.key, part.generation)).collect();
        let wanted = self.db.part_generations(node).await?;
        let mut parts = Vec::new();
        for part in &wanted {
            if !same_life || have.get(&part.key).is_none_or(|old| *old < part.generation) {
                parts.push(self.part(node, part).await?);
            }
        }
        let absent = self.absent_parts(&have, &wanted, same_life).await?;
        parts.extend(absent.into_iter().map(|part| Arc::new(part.into())));
        Ok(self.reply(node, epoch, parts, wants_report))
    }

    /// With what somebody waits for.
    fn reply(
        &self,
        node: NodeId,
        epoch: Epoch,
        parts: Vec<Arc<SharedPart>>,
        wants_report: bool,
    ) -> PollReply<Arc<SharedPart>> {
        let wanted_consoles = self.consoles.hand_out(node);
        let wanted_sendings = self.sendings.hand_out(node);
        PollReply { epoch, parts, wanted_consoles, wanted_sendings, wants_report }
    }

    /// The part as it is now, which may be newer than the generation that made us look.
    async fn part(&self, node: NodeId, wanted: &HavePart) -> Result<Arc<SharedPart>, Error> {
        match wanted.key {
            PartKey::Node(_) => {
                let state = self.db.node_part(node).await?;
                let state = state.ok_or_else(|| Error::not_found(Kind::Node, node))?;
                let generation = state.generation;
                let body = PartBody::Node(self.build_node_part(node, &state)?);
                Ok(Arc::new(Part { key: wanted.key, generation, body }.into()))
            }
            PartKey::Vpc(vpc) => self.vpc_part(vpc, wanted.generation).await,
            PartKey::Storage(_) => {
                let state = self.db.storage_part(node).await?;
                let state = state.ok_or_else(|| Error::not_found(Kind::Node, node))?;
                let generation = state.generation;
                let body = PartBody::Storage(self.build_storage_part(&state)?);
                Ok(Arc::new(Part { key: wanted.key, generation, body }.into()))
            }
        }
    }

    /// VPCs that the agent has and must no longer carry. One whose generation has not grown since is
    /// the agent's own memory of an earlier absence.
    async fn absent_parts(
        &self,
        have: &HashMap<PartKey, Generation>,
        wanted: &[HavePart],
        same_life: bool,
    ) -> Result<Vec<Part>, Error> {
        let carried = |vpc: &VpcId| wanted.iter().any(|part| part.key == PartKey::Vpc(*vpc));
        let left: Vec<VpcId> = have.keys().filter_map(vpc_of).filter(|vpc| !carried(vpc)).collect();
        if left.is_empty() {
            return Ok(Vec::new());
        }
        let known: HashMap<_, _> = self.db.vpc_generations(&left).await?.into_iter().collect();
        let absent = |vpc: VpcId| Part {
            key: PartKey::Vpc(vpc),
            generation: known.get(&vpc).copied().unwrap_or(DELETED),
            body: PartBody::Absent,
        };
        let is_news =
            |part: &Part| !same_life || have.get(&part.key).is_none_or(|old| *old < part.generation);
        let mut parts: Vec<Part> = left.into_iter().map(absent).filter(is_news).collect();
        parts.sort_unstable_by_key(|part| part.key);
        Ok(parts)
    }

    /// The database's epoch; it cannot change while the process runs.
    pub(crate) async fn epoch(&self) -> Result<Epoch, Error> {
        Ok(*self.epoch.get_or_try_init(|| self.db.epoch()).await?)
    }
}

fn vpc_of(key: &PartKey) -> Option<VpcId> {
    match *key {
        PartKey::Vpc(vpc) => Some(vpc),
        PartKey::Node(_) | PartKey::Storage(_) => None,
    }
}
