//! The long poll.

use std::collections::HashMap;
use std::time::Duration;

use tepui_types::agent::{HavePart, Part, PartBody, PartKey, PollReply, PollRequest};
use tepui_types::{Epoch, Generation, NodeId, VpcId};
use tokio::time::{Instant, timeout_at};

use super::vpc_part::completed;
use crate::{Cloud, Error, Kind};

/// Longer waits are cut to this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl Cloud {
    /// Answers with the parts that are newer than those the node has, and with the consoles somebody
    /// waits for; waits for the first of them, or until the deadline.
    ///
    /// # Errors
    /// `NotFound` for an unknown node, and those of the store.
    pub async fn poll(&self, node: NodeId, request: PollRequest) -> Result<PollReply, Error> {
        self.hear(node, request.agent_run);
        let deadline = Instant::now() + Duration::from_millis(request.wait_ms).min(LONGEST_WAIT);
        let mut wakes = self.wakes.subscribe(node);
        loop {
            wakes.borrow_and_update();
            let reply = self.news(node, &request).await?;
            let news = !reply.parts.is_empty() || !reply.wanted_consoles.is_empty();
            if news || timeout_at(deadline, wakes.changed()).await.is_err() {
                self.fleet.seen(node, self.now());
                return Ok(reply);
            }
        }
    }

    /// Whether a poll of this node is open.
    pub fn is_waited_for(&self, node: NodeId) -> bool {
        self.wakes.is_waited_for(node)
    }

    /// Notes a sign of life of an agent process.
    pub(super) fn hear(&self, node: NodeId, run: u64) {
        let now = self.now();
        let was_silent = self.fleet.is_silent(node, now, self.config.node_timeout);
        self.fleet.seen(node, now);
        if was_silent {
            self.reconcile.notify_one();
        }
        if self.fleet.heard_run(node, run, now) {
            tracing::error!(%node, "alarm: two agents use this node's identity");
        }
    }

    async fn news(&self, node: NodeId, request: &PollRequest) -> Result<PollReply, Error> {
        let epoch = self.epoch().await?;
        // What the agent has from another life of the database is no measure of what is new.
        let same_life = request.epoch == epoch;
        let have: HashMap<PartKey, Generation> =
            request.have.iter().map(|part| (part.key, part.generation)).collect();
        let wanted = self.db.part_generations(node).await?;
        let mut parts = Vec::new();
        for part in &wanted {
            if !same_life || have.get(&part.key).is_none_or(|old| *old < part.generation) {
                parts.push(self.part(node, part.key).await?);
            }
        }
        parts.extend(self.absent_parts(&have, &wanted, same_life).await?);
        Ok(PollReply { epoch, parts, wanted_consoles: self.consoles.hand_out(node) })
    }

    /// The part as it is now, which may be newer than the generation that made us look.
    async fn part(&self, node: NodeId, key: PartKey) -> Result<Part, Error> {
        match key {
            PartKey::Node(_) => {
                let state = self.db.node_part(node).await?;
                let state = state.ok_or_else(|| Error::not_found(Kind::Node, node))?;
                let generation = state.generation;
                let body = PartBody::Node(self.build_node_part(state).await?);
                Ok(Part { key, generation, body })
            }
            PartKey::Vpc(vpc) => {
                let found = self.db.vpc_part(vpc).await?;
                let (generation, part) = found.ok_or_else(|| Error::not_found(Kind::Vpc, vpc))?;
                Ok(Part { key, generation, body: PartBody::Vpc(completed(part, &self.config)) })
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
        let mut parts = Vec::new();
        for (key, old) in have {
            let PartKey::Vpc(vpc) = *key else { continue };
            if wanted.iter().any(|part| part.key == *key) {
                continue;
            }
            let generation = self.generation_of(vpc, *old).await?;
            if !same_life || generation > *old {
                parts.push(Part { key: *key, generation, body: PartBody::Absent });
            }
        }
        parts.sort_unstable_by_key(|part| part.key);
        Ok(parts)
    }

    /// A deleted VPC counts as one change more than the agent knows.
    async fn generation_of(&self, vpc: VpcId, old: Generation) -> Result<Generation, Error> {
        let found = self.db.vpc_part(vpc).await?;
        Ok(found.map_or_else(|| old.next(), |(generation, _)| generation))
    }

    /// The database's epoch; it cannot change while the process runs.
    pub(crate) async fn epoch(&self) -> Result<Epoch, Error> {
        Ok(*self.epoch.get_or_try_init(|| self.db.epoch()).await?)
    }
}
