//! Why an instance is where it is: a chain of facts, from what the user wants to what the host says.

use tepui_db::model::{
    Attachment, ExportState, InstanceRecord, InstanceState, NodeLoad, NodeState, Placement, Role,
};
use tepui_types::agent::{DiskFailure, HavePart, PartKey, PlacementState, Report};
use tepui_types::{InstanceId, NodeId, Timestamp, VolumeId, VpcId};

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
        let mut facts = vec![wish(caller, record)];
        match &record.placement {
            Some(placement) => {
                let teller = Teller { caller, vpc: record.instance.vpc_id, node: placement.node_id };
                facts.extend(self.host_facts(&teller, placement).await?);
                let stalls = self.fleet.stalls(placement.node_id, record);
                facts.extend(stalls.into_iter().map(|(volume, failure)| stall(volume, failure)));
            }
            None => facts.extend(nowhere(record)),
        }
        let state = record.instance.state;
        Ok(Explanation { id, state, waits_for: waits_for(state, &facts), facts })
    }

    async fn host_facts(&self, teller: &Teller<'_>, placement: &Placement) -> Result<Vec<Fact>, Error> {
        let id = placement.node_id;
        let (nodes, wanted) = futures::try_join!(self.db.nodes(), self.db.part_generations(id))?;
        let mut facts = Vec::new();
        if let Some(load) = nodes.iter().find(|load| load.node.id == id) {
            facts.extend(self.node_facts(teller, load));
        }
        let Some(report) = self.fleet.report(id) else {
            facts.push(fact("agent", "has not reported since the control plane started"));
            return Ok(facts);
        };
        facts.extend(teller.part_facts(&wanted, &report));
        facts.push(teller.observation(placement, &report));
        Ok(facts)
    }

    fn node_facts(&self, teller: &Teller<'_>, load: &NodeLoad) -> Vec<Fact> {
        let node = &load.node;
        let about = teller.node(&node.name);
        let (says, blocks) = match node.state {
            NodeState::Up => (
                format!("is up, last heard of at {}", self.time_of_day(self.fleet.last_seen(node.id))),
                false,
            ),
            NodeState::Unreachable => ("is unreachable; its guests may well run".to_owned(), true),
            NodeState::Expunged => ("was given up by an operator".to_owned(), true),
        };
        let mut facts = vec![Fact { about: about.clone(), says, since: Some(node.state_since), blocks }];
        if let Some(why) = &node.impaired {
            facts.push(Fact {
                about,
                says: format!("cannot start guests{}", teller.because(why)),
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

fn wish(caller: &Caller, record: &InstanceRecord) -> Fact {
    let instance = &record.instance;
    let reason = instance.state_reason.as_ref().map(|reason| match (&reason.detail, caller.role) {
        (Some(detail), Role::Administrator) => format!(": {} ({detail})", reason.message),
        (Some(_), Role::Member) | (None, _) => format!(": {}", reason.message),
    });
    Fact {
        about: format!("instance {}", instance.id),
        says: format!("is {}{}", instance.state.name(), reason.unwrap_or_default()),
        since: Some(instance.state_since),
        blocks: false,
    }
}

/// A volume for which the guest stands still.
fn stall(volume: VolumeId, failure: DiskFailure) -> Fact {
    let why = match failure {
        DiskFailure::NoSpace => "its pool has no room for what the guest writes",
        DiskFailure::Other => "a request of the guest failed",
    };
    let says = format!("{why}: the guest stands still, hears nothing of it, and goes on once it succeeds");
    Fact { about: format!("volume {volume}"), says, since: None, blocks: false }
}

/// What there is to tell of one that is in no place.
fn nowhere(record: &InstanceRecord) -> Vec<Fact> {
    let says = match (record.instance.volume_root, record.instance.state) {
        (true, InstanceState::Stopping | InstanceState::Stopped) => {
            "none while it is stopped: it boots from a volume, and starts wherever there is room"
        }
        _ => "none is left: its disk and addresses are free again",
    };
    let is_reachable = |one: &&Attachment| one.export_state != ExportState::Closed;
    let held = record.attachments.iter().filter(is_reachable).map(|one| Fact {
        about: format!("volume {}", one.volume_id),
        says: "is being closed to the place that the instance left".into(),
        since: None,
        blocks: true,
    });
    std::iter::once(fact("placement", says)).chain(held).collect()
}

/// Tells administrators everything that concerns one instance. Members do not learn which nodes there
/// are, what else is on them, or what a host says to its operator.
struct Teller<'a> {
    caller: &'a Caller,
    vpc: VpcId,
    node: NodeId,
}

impl Teller<'_> {
    fn tells_all(&self) -> bool {
        self.caller.role == Role::Administrator
    }

    fn node(&self, name: &str) -> String {
        if self.tells_all() { format!("node {name}") } else { "the node".into() }
    }

    fn agent(&self) -> String {
        if self.tells_all() { format!("agent of {}", self.node) } else { "the node's agent".into() }
    }

    fn because(&self, why: &str) -> String {
        if self.tells_all() { format!(": {why}") } else { String::new() }
    }

    fn concerns(&self, key: PartKey) -> bool {
        key == PartKey::Node(self.node) || key == PartKey::Vpc(self.vpc)
    }

    /// How far the desired state has come.
    fn part_facts(&self, wanted: &[HavePart], report: &Report) -> Vec<Fact> {
        let blocking = |says| Fact { about: self.agent(), says, since: None, blocks: true };
        let behind = wanted.iter().filter(|part| self.concerns(part.key));
        let behind = behind.filter_map(|part| late(part, report)).map(blocking);
        let refused = report.observed.refused.iter().filter(|refused| self.concerns(refused.part.key));
        let refused = refused.map(|refused| {
            let because = self.because(&refused.reason);
            blocking(format!("refused {}{because}", part_name(refused.part.key)))
        });
        behind.chain(refused).collect()
    }

    fn observation(&self, placement: &Placement, report: &Report) -> Fact {
        let seen = report.observed.placements.iter().find(|seen| seen.id == placement.id);
        let says = match (seen, &placement.observed) {
            (Some(seen), _) => format!("says: {}", self.words(&seen.state)),
            (None, Some(before)) => {
                format!("does not mention it now; it did before{}", self.because(before))
            }
            (None, None) => "has not mentioned it yet".into(),
        };
        fact(&format!("placement {}", placement.id), &says)
    }

    /// Without the host's reason for a failure, where that is not for the caller.
    fn words(&self, seen: &PlacementState) -> String {
        match seen {
            PlacementState::Failed { step, permanent, .. } if !self.tells_all() => {
                format!("{step} failed{}", if *permanent { " for good" } else { ", trying again" })
            }
            PlacementState::Preparing { .. }
            | PlacementState::Running { .. }
            | PlacementState::Stopping
            | PlacementState::Off { .. }
            | PlacementState::Failed { .. }
            | PlacementState::Gone => words(seen),
        }
    }
}

fn late(part: &HavePart, report: &Report) -> Option<String> {
    let applied = report.observed.applied.iter().find(|applied| applied.key == part.key);
    let have = applied.map(|part| part.generation);
    have.is_none_or(|have| have < part.generation).then(|| {
        format!(
            "has applied generation {} of {}, {} is wanted",
            have.map_or_else(|| "none".into(), |have| have.to_string()),
            part_name(part.key),
            part.generation
        )
    })
}

pub(crate) fn part_name(key: PartKey) -> String {
    match key {
        PartKey::Node(_) => "the node's part".into(),
        PartKey::Vpc(id) => format!("the part of {id}"),
        PartKey::Storage(_) => "the node's storage part".into(),
    }
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
