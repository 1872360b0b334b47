//! Whether a part that arrives is news.

use tepui_types::agent::{Part, PartBody, PartKey};
use tepui_types::{Digest, Epoch, NodeId};

use super::StoredPart;

/// What to do with a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Newer: write it down, then act on it.
    Accept,
    /// The ledger has it already.
    Known,
    /// Must not happen: do not act on it, raise an alarm.
    Refuse(String),
}

/// Compares by epoch first: a database restored from a backup counts its generations anew.
pub fn verdict(node: NodeId, ours: Epoch, held: Option<&StoredPart>, theirs: Epoch, part: &Part) -> Verdict {
    if let Some(reason) = contradiction(node, part) {
        return Verdict::Refuse(reason);
    }
    if theirs < ours {
        return Verdict::Refuse(format!("epoch {theirs} is older than epoch {ours} of the ledger"));
    }
    let Some(held) = held.filter(|held| held.epoch == theirs) else {
        return Verdict::Accept;
    };
    if part.generation < held.generation {
        return Verdict::Refuse(format!("it is older than generation {} of the ledger", held.generation));
    }
    if part.generation > held.generation {
        return Verdict::Accept;
    }
    same_generation(held.digest, part)
}

fn same_generation(held: Digest, part: &Part) -> Verdict {
    if part.content_digest() == held {
        return Verdict::Known;
    }
    Verdict::Refuse("the ledger holds the same generation with other content".to_owned())
}

/// A part whose name and content do not fit together, or that is meant for another node.
fn contradiction(node: NodeId, part: &Part) -> Option<String> {
    match (&part.key, &part.body) {
        (PartKey::Node(id), PartBody::Node(_)) if *id == node => None,
        (PartKey::Node(id), _) if *id != node => Some(format!("it is for {id}, this is {node}")),
        (PartKey::Node(_), PartBody::Absent) => Some("a node's own part cannot be absent".to_owned()),
        (PartKey::Vpc(id), PartBody::Vpc(vpc)) if vpc.id == *id => None,
        (PartKey::Vpc(_), PartBody::Absent) => None,
        (PartKey::Vpc(id), PartBody::Vpc(vpc)) => Some(format!("it is named {id} and describes {}", vpc.id)),
        (PartKey::Storage(id), PartBody::Storage(_)) if *id == node => None,
        (PartKey::Storage(id), _) if *id != node => Some(format!("it is for {id}, this is {node}")),
        (PartKey::Storage(_), PartBody::Absent) => Some("a node's storage part cannot be absent".to_owned()),
        (PartKey::Node(_), PartBody::Node(_) | PartBody::Vpc(_) | PartBody::Storage(_))
        | (PartKey::Vpc(_), PartBody::Node(_) | PartBody::Storage(_))
        | (PartKey::Storage(_), PartBody::Node(_) | PartBody::Vpc(_) | PartBody::Storage(_)) => {
            Some("its content is of another kind than its name".to_owned())
        }
    }
}
