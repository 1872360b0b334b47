//! What nodes observe.

use std::collections::BTreeSet;
use std::sync::Arc;

use tepui_db::model::InstanceRecord;
use tepui_db::{NodePartState, Transition};
use tepui_types::agent::{NodeObserved, Report, ReportReply};
use tepui_types::{Generation, NodeId, PlacementId};

use super::storage_part::disk_news;
use crate::failpoint::{Passed, pass};
use crate::fleet::Facts;
use crate::transition::plan_transitions;
use crate::{Cloud, Error, Kind};

impl Cloud {
    /// Takes a report: applies what it means for the node's instances and keeps it in memory. One
    /// that was overtaken changes nothing. Reports that bring no news write nothing, and one that says
    /// again what meant nothing new is not even compared with the node's instances.
    ///
    /// # Errors
    /// `NotFound` for an unknown node, and those of the store; the agent then sends it again.
    pub async fn report(&self, node: NodeId, report: Report) -> Result<ReportReply, Error> {
        self.hear(node, report.agent_run);
        let epoch = self.epoch().await?;
        let report = Arc::new(report);
        if self.fleet.is_overtaken(node, &report) {
            return Ok(ReportReply { epoch });
        }
        self.take_facts(node, &report.observed).await?;
        // What an agent did before a backup was restored is taken over once; otherwise counters from
        // another life of the database mean nothing in this one.
        let settled = match report.epoch == epoch {
            true => self.settle(node, &report).await?,
            false => None,
        };
        if self.is_to_be_adopted(node, report.epoch, epoch) {
            self.adopt(node, &report.observed).await?;
        }
        self.take_io(node, &report.observed.io).await?;
        // Only now: a report whose effect was not stored must not make its repeat look old.
        self.fleet.keep(node, report, settled);
        Ok(ReportReply { epoch })
    }

    /// Applies what a report means. The generation of the node's rows at which it means nothing, or
    /// nothing more: until that grows or the node says something else, there is nothing to compare.
    async fn settle(&self, node: NodeId, report: &Report) -> Result<Option<Generation>, Error> {
        // What a host says of its pools is weighed each time: few hosts have any.
        if let Some(storage) = &report.observed.storage {
            self.take_storage(node, storage).await?;
        }
        if let Some(settled) = self.fleet.settled(node, report) {
            let turn = self.host_turn().await?;
            let generation = self.db.node_generation(node).await?;
            drop(turn);
            if generation == Some(settled) {
                return Ok(Some(settled));
            }
        }
        self.take_observations(node, &report.observed).await
    }

    /// Writes what the node says of itself, when it differs from what it said before.
    async fn take_facts(&self, node: NodeId, seen: &NodeObserved) -> Result<(), Error> {
        for refused in &seen.refused {
            tracing::error!(%node, part = ?refused.part.key, reason = refused.reason, "alarm: part refused");
        }
        let facts = self.facts(node, seen);
        if self.fleet.is_written(node, &facts) {
            return Ok(());
        }
        let Facts { capacity, agent_version, impaired } = &facts;
        self.db.update_node(node, *capacity, agent_version, impaired.as_deref()).await?;
        self.fleet.wrote(node, facts);
        Ok(())
    }

    fn facts(&self, node: NodeId, seen: &NodeObserved) -> Facts {
        let duplicate = self.fleet.is_duplicate(node, self.steady());
        let two = || "duplicate node identity: two agents report as this node".to_owned();
        Facts {
            capacity: seen.capacity,
            agent_version: seen.agent_version.clone(),
            impaired: if duplicate { Some(two()) } else { seen.impaired.clone() },
        }
    }

    async fn take_observations(
        &self,
        node: NodeId,
        seen: &NodeObserved,
    ) -> Result<Option<Generation>, Error> {
        let state = self.node_rows(node).await?;
        let transitions = plan_transitions(&state.records, &seen.placements);
        let disks = disk_news(&state.records, &seen.placements);
        pass("core::report::planned")?;
        self.apply_news(node, &disks).await?;
        let freezes = self.take_freezes(node, &state.freezes, &seen.placements).await?;
        if transitions.is_empty() {
            return Ok((disks.is_empty() && !freezes).then_some(state.generation));
        }
        let applied = self.db.apply_transitions(node, &transitions, self.now()).await?;
        let passed = pass("core::report::applied")?;
        for t in transitions.iter().filter(|t| applied.contains(&t.placement_id)) {
            if let Some(detail) = t.reason.as_ref().and_then(|reason| reason.detail.as_deref()) {
                tracing::warn!(%node, placement = %t.placement_id, to = ?t.to, detail, "a start failed");
            }
        }
        let is_gone = |t: &&Transition| t.gone && applied.contains(&t.placement_id);
        let gone = transitions.iter().filter(is_gone).map(|t| t.placement_id).collect();
        self.wake_after(passed, node, &state.records, &gone).await;
        pass("core::report::woken")?;
        // One of them may have lost a race: the same words may then mean something else.
        Ok(None)
    }

    /// What is wanted on the node, read in a host's turn.
    pub(super) async fn node_rows(&self, node: NodeId) -> Result<NodePartState, Error> {
        let _turn = self.host_turn().await?;
        self.db.node_part(node).await?.ok_or_else(|| Error::not_found(Kind::Node, node))
    }

    /// Forgets those that are gone from the node, and wakes it. Other nodes see only that a placement left
    /// their VPC.
    pub(super) async fn wake_after(
        &self,
        passed: Passed,
        node: NodeId,
        records: &[InstanceRecord],
        gone: &BTreeSet<PlacementId>,
    ) {
        let left = |record: &&InstanceRecord| {
            record.placement.as_ref().is_some_and(|placement| gone.contains(&placement.id))
        };
        let mut vpcs = BTreeSet::new();
        for record in records.iter().filter(left) {
            vpcs.insert(record.instance.vpc_id);
        }
        for id in gone {
            self.consoles.remove(*id).await;
        }
        for vpc in vpcs {
            self.wakes.wake_vpc(passed, vpc);
        }
        self.wakes.wake(passed, [node]);
        // They shut what the placements had open.
        let volumes = records.iter().filter(left).flat_map(|record| &record.attachments);
        let volumes: Vec<_> = volumes.map(|one| one.volume_id).collect();
        if volumes.is_empty() {
            return;
        }
        match self.db.hosts_of_volumes(&volumes).await {
            Ok(hosts) => self.wakes.wake(passed, hosts),
            Err(error) => tracing::warn!(%error, "storage hosts not woken"),
        }
    }
}
