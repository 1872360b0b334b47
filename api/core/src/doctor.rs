//! What is wrong, and the cure: rows against each other, and against what the nodes said last.

mod books;
mod leftovers;
mod moves;
mod overdue;
mod restore_tests;
mod storage;

use std::collections::{BTreeMap, BTreeSet};

use tepui_db::model::{InstanceRecord, InstanceState, NodeState};
use tepui_types::agent::{FreezeState, OffReason, PlacementObserved, PlacementState};
use tepui_types::{NodeId, PlacementId};

use crate::explain::part_name;
use crate::transition::words;
use crate::{Caller, Cloud, Error, NodeView};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth a look; nothing is broken.
    Warning,
    /// Something does not work.
    Failure,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// The object, for example `node node-1`.
    pub object: String,
    /// What is wrong.
    pub what: String,
    /// What helps.
    pub cure: String,
    /// [`Cloud::mend`] puts it right, and risks nothing by it.
    pub fixable: bool,
}

impl Cloud {
    /// Compares rows with each other and with the nodes' last reports; empty when all is well.
    /// Administrators only.
    ///
    /// # Errors
    /// `Forbidden`.
    pub async fn doctor(&self, caller: &Caller) -> Result<Vec<Finding>, Error> {
        let nodes = self.nodes(caller).await?;
        let records = self.db.all_instances().await?;
        let mut by_node: BTreeMap<NodeId, Vec<&InstanceRecord>> = BTreeMap::new();
        for record in &records {
            if let Some(placement) = &record.placement {
                by_node.entry(placement.node_id).or_default().push(record);
            }
        }
        let none = Vec::new();
        let examine = |view: &NodeView| {
            let records = by_node.get(&view.load.node.id).unwrap_or(&none);
            let overfull = books::overfull(&view.load, self.config.overcommit);
            let overdue = overdue::instances(view, records, self.now());
            let of_node = node_findings(view).into_iter().chain(overfull);
            of_node.chain(placement_findings(view, records)).chain(overdue).collect::<Vec<_>>()
        };
        let mut findings: Vec<_> = nodes.iter().flat_map(examine).collect();
        findings.extend(self.storage_findings(caller, &nodes).await?);
        findings.extend(restore_tests::failed(&self.db.failed_tests().await?));
        findings.extend(restore_tests::overdue(&self.db.overdue_tests(self.clock.earliest()).await?));
        findings.extend(overdue::volumes(&self.warned_volumes().await?));
        findings.extend(overdue::imports(&self.db.active_imports().await?, self.now()));
        findings.extend(self.db.discrepancies().await?.into_iter().map(books::finding));
        Ok(findings)
    }

    async fn storage_findings(&self, caller: &Caller, nodes: &[NodeView]) -> Result<Vec<Finding>, Error> {
        let pools = self.pools(caller).await?;
        let hosts: BTreeSet<NodeId> = pools.iter().map(|view| view.load.pool.node_id).collect();
        let mut parts = BTreeMap::new();
        for host in hosts {
            parts.extend(self.db.storage_part(host).await?.map(|part| (host, part)));
        }
        let mut findings = storage::findings(nodes, &pools, &parts, self.now());
        findings.extend(moves::findings(&pools, &self.db.moves().await?, self.now()));
        Ok(findings)
    }

    /// Puts right what the doctor finds and what risks nothing: sums and reservations of the books. Returns
    /// what was put right. It never touches a host, and no disk or guest is the worse for it. Administrators
    /// only.
    ///
    /// # Errors
    /// `Forbidden`.
    pub async fn mend(&self, caller: &Caller) -> Result<Vec<String>, Error> {
        caller.require_administrator()?;
        let mended =
            self.commit(caller, "MendBooks", String::new(), async { Ok(self.db.mend().await?) }).await?;
        Ok(mended.into_iter().map(|mended| format!("{}: {}", mended.object, mended.what)).collect())
    }
}

fn failure(object: impl Into<String>, what: impl Into<String>, cure: impl Into<String>) -> Finding {
    Finding {
        severity: Severity::Failure,
        object: object.into(),
        what: what.into(),
        cure: cure.into(),
        fixable: false,
    }
}

fn warning(object: impl Into<String>, what: impl Into<String>, cure: impl Into<String>) -> Finding {
    Finding { severity: Severity::Warning, ..failure(object, what, cure) }
}

fn node_findings(view: &NodeView) -> Vec<Finding> {
    let node = &view.load.node;
    let name = || format!("node {}", node.name);
    let mut findings = Vec::new();
    match node.state {
        NodeState::Expunged => return findings,
        NodeState::Unreachable => findings.push(failure(
            name(),
            format!("unreachable since {}", node.state_since),
            format!("start tepui-node on {}, or give it up: tepui node expunge {}", node.name, node.id),
        )),
        NodeState::Up if view.report.is_none() => findings.push(warning(
            name(),
            "has not reported since the control plane started",
            "wait a minute; if it stays, look at tepui-node's log on the host",
        )),
        NodeState::Up => {}
    }
    if view.duplicate_identity {
        let cure = "stop one of the two; a cloned host must join with a machine UUID of its own";
        findings.push(failure(name(), "two agents use its identity", cure));
    } else if let Some(why) = &node.impaired {
        findings.push(failure(name(), format!("cannot start guests: {why}"), "mend this on the host"));
    }
    findings.extend(refusals(view));
    findings.extend(found_there(view));
    findings
}

/// What its agent found wrong there, as long as it can be heard: it would be told of what was mended long ago.
fn found_there(view: &NodeView) -> impl Iterator<Item = Finding> + use<'_> {
    let name = &view.load.node.name;
    let report = view.report.as_ref().filter(|_| view.load.node.state == NodeState::Up);
    report.into_iter().flat_map(|report| &report.observed.findings).map(move |found| {
        let severity = if found.is_failure { Severity::Failure } else { Severity::Warning };
        let what = format!("{}: {}", found.object, found.what);
        Finding { severity, ..failure(format!("node {name}"), what, found.cure.clone()) }
    })
}

fn refusals(view: &NodeView) -> impl Iterator<Item = Finding> + use<'_> {
    let refused = view.report.iter().flat_map(|report| &report.observed.refused);
    refused.map(|refused| {
        failure(
            format!("node {}", view.load.node.name),
            format!("refused {}: {}", part_name(refused.part.key), refused.reason),
            "if a copy of the database was put in place by hand: stop tepui-api and do it with `tepui-api --config FILE restore COPY`, which begins a new epoch; else report this as a bug",
        )
    })
}

/// Rows and the host's word, side by side. A node that is silent says nothing of its placements.
fn placement_findings(view: &NodeView, records: &[&InstanceRecord]) -> Vec<Finding> {
    let (NodeState::Up, Some(report)) = (view.load.node.state, &view.report) else { return Vec::new() };
    let seen: BTreeMap<PlacementId, &PlacementObserved> =
        report.observed.placements.iter().map(|seen| (seen.id, seen)).collect();
    let known: BTreeSet<PlacementId> =
        records.iter().filter_map(|record| record.placement.as_ref()).map(|p| p.id).collect();
    let unknown = seen.values().filter(|seen| !known.contains(&seen.id) && !is_gone(seen)).map(|seen| {
        failure(
            format!("placement {} on node {}", seen.id, view.load.node.name),
            format!("no row knows it; the host says: {}", words(&seen.state)),
            "it is left running; remove it on the host once you know what it is",
        )
    });
    let missing = records.iter().filter_map(|record| {
        let placement = record.placement.as_ref()?;
        mismatch(record, seen.get(&placement.id).map(|seen| &seen.state), &view.load.node.name)
    });
    let stuck = records.iter().filter_map(|record| {
        let placement = record.placement.as_ref()?;
        stuck(record, seen.get(&placement.id)?)
    });
    unknown.chain(missing).chain(stuck).collect()
}

/// A guest that holds still for a snapshot longer than it may.
fn stuck(record: &InstanceRecord, seen: &PlacementObserved) -> Option<Finding> {
    let FreezeState::Stuck { message } = &seen.freeze.as_ref()?.state else { return None };
    let id = record.instance.id;
    let what = format!("it holds still for a snapshot, and cannot be made to go on: {message}");
    let cure = format!(
        "its node tries again by itself; if it stays, see there (tepui-node doctor), and then: tepui instance reboot {id}, or where a disk of it does not answer: tepui instance stop {id} --force"
    );
    Some(failure(format!("instance {id}"), what, cure))
}

fn is_gone(seen: &PlacementObserved) -> bool {
    matches!(seen.state, PlacementState::Gone)
}

/// What is wrong between a row and its domain, if anything is.
fn mismatch(record: &InstanceRecord, seen: Option<&PlacementState>, node: &str) -> Option<Finding> {
    let instance = &record.instance;
    let object = format!("instance {}", instance.id);
    let state = instance.state.name();
    let explain = format!("tepui instance explain {}", instance.id);
    match (instance.state, seen) {
        (InstanceState::Running | InstanceState::Stopped, None | Some(PlacementState::Gone)) => {
            let what = format!("is {state}, but node {node} has no domain or disk of it");
            let cure = match instance.volume_root {
                true => format!("tepui instance stop {0}, then tepui instance start {0}", instance.id),
                false => format!(
                    "look there first: tepui-node doctor; once the disk is known to be lost: tepui instance delete {}",
                    instance.id
                ),
            };
            Some(failure(object, what, cure))
        }
        (InstanceState::Terminated | InstanceState::ShuttingDown, None | Some(PlacementState::Gone)) => None,
        (InstanceState::Pending | InstanceState::Stopping, None | Some(PlacementState::Gone)) => None,
        (
            InstanceState::Pending
            | InstanceState::Running
            | InstanceState::Stopping
            | InstanceState::Stopped
            | InstanceState::ShuttingDown
            | InstanceState::Terminated,
            Some(failed @ PlacementState::Failed { .. }),
        ) => Some(failure(object, format!("is {state}: {}", words(failed)), explain)),
        (
            InstanceState::Running,
            Some(
                off @ (PlacementState::Off { .. }
                | PlacementState::Preparing { .. }
                | PlacementState::Stopping),
            ),
        )
        | (InstanceState::Stopped, Some(off @ PlacementState::Running { .. })) => {
            let what = format!("is {state}, but node {node} says: {}", words(off));
            Some(warning(object, what, explain))
        }
        (InstanceState::Stopped, Some(lost @ PlacementState::Off { reason: OffReason::Unknown, .. })) => {
            let cure = format!("tepui instance start {0}, or tepui instance delete {0}", instance.id);
            Some(warning(object, format!("is {state}, and node {node} says: {}", words(lost)), cure))
        }
        (
            InstanceState::Pending
            | InstanceState::Running
            | InstanceState::Stopping
            | InstanceState::Stopped
            | InstanceState::ShuttingDown
            | InstanceState::Terminated,
            Some(
                PlacementState::Preparing { .. }
                | PlacementState::Running { .. }
                | PlacementState::Stopping
                | PlacementState::Off { .. },
            ),
        ) => None,
    }
}
