//! A part that many nodes carry.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::{Part, PollReply};

/// A part whose JSON is made once, for all replies that hold it.
#[derive(Debug)]
pub struct SharedPart {
    part: Part,
    json: OnceLock<Box<RawValue>>,
}

impl From<Part> for SharedPart {
    fn from(part: Part) -> Self {
        Self { part, json: OnceLock::new() }
    }
}

impl Deref for SharedPart {
    type Target = Part;

    fn deref(&self) -> &Part {
        &self.part
    }
}

impl PartialEq for SharedPart {
    fn eq(&self, other: &Self) -> bool {
        self.part == other.part
    }
}

impl Serialize for SharedPart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(json) = self.json.get() {
            return json.serialize(serializer);
        }
        let json = to_raw_value(&self.part).map_err(S::Error::custom)?;
        self.json.get_or_init(|| json).serialize(serializer)
    }
}

impl PollReply<Arc<SharedPart>> {
    /// The reply as its agent reads it.
    pub fn owned(self) -> PollReply {
        let owned = |part: Arc<SharedPart>| match Arc::try_unwrap(part) {
            Ok(sole) => sole.part,
            Err(shared) => shared.part.clone(),
        };
        PollReply {
            epoch: self.epoch,
            parts: self.parts.into_iter().map(owned).collect(),
            wanted_consoles: self.wanted_consoles,
            wanted_sendings: self.wanted_sendings,
            wants_report: self.wants_report,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::agent::{NodePart, PartBody, PartKey};
    use crate::{Epoch, Generation, NodeId};

    use super::*;

    #[test]
    fn agents_read_a_shared_part_as_any_other() {
        let part = Part {
            key: PartKey::Node(NodeId::from_random(1)),
            generation: Generation(3),
            body: PartBody::Node(NodePart::default()),
        };
        let shared = Arc::new(SharedPart::from(part));
        let parts = vec![Arc::clone(&shared), shared];
        let reply = PollReply {
            epoch: Epoch(1),
            parts,
            wanted_consoles: Vec::new(),
            wanted_sendings: Vec::new(),
            wants_report: false,
        };
        let json = serde_json::to_string(&reply).unwrap();
        let owned = reply.owned();
        assert_eq!(json, serde_json::to_string(&owned).unwrap());
        assert_eq!(serde_json::from_str::<PollReply>(&json).unwrap(), owned);
    }
}
