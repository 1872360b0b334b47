//! Why an instance is where it is: a chain of facts, from what the user wants to what the host says.

use tepui_db::model::{InstanceRecord, InstanceState, NodeLoad, NodeState, Placement};
use tepui_types::agent::{HavePart, PartKey, Report};
use tepui_types::{InstanceId, NodeId, Timestamp};

use crate::instance::state_name;
use crate::transition::words;
use crate::{Caller, Cloud, Error, Kind};

/// One fact of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it is about, for example `node node-1`.
    pub about: String,
    /// The fact.
    pub says: String,
    /// Since when, where that is known.
    pub since: Option<Timestamp>,
    /// It keeps the instance from where it should be.
    pub blocks: bool,
}

/// The chain, and what it comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The instance.
    pub id: InstanceId,
    /// Its state.
    pub state: InstanceState,
    /// From the wish to the host.
    pub facts: Vec<Fact>,
    /// What it waits for; `None` when it is where it should be.
    pub waits_for: Option<String>,
}

impl Cloud {
    /// Explains why an instance is where it is.
    ///
    /// # Errors
    /// `NotFound`, also for a foreign one.
    pub async fn explain_instance(&self, caller: &Caller, id: InstanceId) -> Result<Explanation, Error> {
        let records = self.records(caller.project, &[id]).await?;
        let record = records.first().ok_or_else(|| Error::not_found(Kind::Instance, id))?;
        let mut facts = vec![wish(record)];
        match &record.placement {
            Some(placement) => facts.extend(self.host_facts(placement).await?),
            None => facts.push(fact("placement", "none is left: its disk and addresses are free again")),
        }
        let state = record.instance.state;
        Ok(Explanation { id, state, waits_for: waits_for(state, &facts), facts })
    }

    async fn host_facts(&self, placement: &Placement) -> Result<Vec<Fact>, Error> {
        let id = placement.node_id;
        let (nodes, wanted) = futures::try_join!(self.db.nodes(), self.db.part_generations(id))?;
        let mut facts = Vec::new();
        if let Some(load) = nodes.iter().find(|load| load.node.id == id) {
            facts.extend(self.node_facts(load));
        }
        let Some(report) = self.fleet.report(id) else {
            facts.push(fact("agent", "has not reported since the control plane started"));
            return Ok(facts);
        };
        facts.extend(part_facts(id, &wanted, &report));
        facts.push(observation(placement, &report));
        Ok(facts)
    }

    fn node_facts(&self, load: &NodeLoad) -> Vec<Fact> {
        let node = &load.node;
        let about = format!("node {}", node.name);
        let (says, blocks) = match node.state {
            NodeState::Up => (format!("is up, last heard of at {}", self.fleet.last_seen(node.id)), false),
            NodeState::Unreachable => ("is unreachable; its guests may well run".to_owned(), true),
            NodeState::Expunged => ("was given up by an operator".to_owned(), true),
        };
        let mut facts = vec![Fact { about: about.clone(), says, since: Some(node.state_since), blocks }];
        if let Some(why) = &node.impaired {
            facts.push(Fact {
                about,
                says: format!("cannot start guests: {why}"),
                since: None,
                blocks: true,
            });
        }
        facts
    }
}

fn fact(about: &str, says: &str) -> Fact {
    Fact { about: about.into(), says: says.into(), since: None, blocks: false }
}

fn wish(record: &InstanceRecord) -> Fact {
    let instance = &record.instance;
    let reason = instance.state_reason.as_ref().map(|reason| format!(": {}", reason.message));
    Fact {
        about: format!("instance {}", instance.id),
        says: format!("is {}{}", state_name(instance.state), reason.unwrap_or_default()),
        since: Some(instance.state_since),
        blocks: false,
    }
}

/// How far the desired state has come.
fn part_facts(node: NodeId, wanted: &[HavePart], report: &Report) -> Vec<Fact> {
    let applied = |key: PartKey| report.observed.applied.iter().find(|part| part.key == key);
    let behind = wanted.iter().filter_map(|part| {
        let have = applied(part.key).map(|part| part.generation);
        let late = have.is_none_or(|have| have < part.generation);
        late.then(|| Fact {
            about: format!("agent of {node}"),
            says: format!(
                "has applied generation {} of {}, {} is wanted",
                have.map_or_else(|| "none".into(), |have| have.to_string()),
                part_name(part.key),
                part.generation
            ),
            since: None,
            blocks: true,
        })
    });
    let refused = report.observed.refused.iter().map(|refused| Fact {
        about: format!("agent of {node}"),
        says: format!("refused {}: {}", part_name(refused.part.key), refused.reason),
        since: None,
        blocks: true,
    });
    behind.chain(refused).collect()
}

pub(crate) fn part_name(key: PartKey) -> String {
    match key {
        PartKey::Node(_) => "the node's part".into(),
        PartKey::Vpc(id) => format!("the part of {id}"),
    }
}

fn observation(placement: &Placement, report: &Report) -> Fact {
    let seen = report.observed.placements.iter().find(|seen| seen.id == placement.id);
    let says = match (seen, &placement.observed) {
        (Some(seen), _) => format!("says: {}", words(&seen.state)),
        (None, Some(before)) => format!("does not mention it now; said before: {before}"),
        (None, None) => "has not mentioned it yet".into(),
    };
    fact(&format!("placement {}", placement.id), &says)
}

/// The first blocking fact, or the step that is in work.
fn waits_for(state: InstanceState, facts: &[Fact]) -> Option<String> {
    let on_the_way = match state {
        InstanceState::Pending | InstanceState::Stopping | InstanceState::ShuttingDown => true,
        InstanceState::Running | InstanceState::Stopped | InstanceState::Terminated => false,
    };
    let blocking = facts.iter().find(|fact| fact.blocks);
    let last = facts.last().filter(|_| on_the_way);
    let told = |fact: &Fact| format!("{} {}", fact.about, fact.says);
    if on_the_way { blocking.or(last).map(told) } else { None }
}
