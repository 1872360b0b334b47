//! A VPC's part: what the store does not know of it, and what was built of it last.
//!
//! Every change of a VPC wakes all nodes that carry it, and each asks for the same part. It is built for
//! the first of them and kept for the others. What is kept is never stale: a poll asks for the
//! generation that it read from the store, one generation has one content, and what is older than that
//! is built anew.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use sha2::{Digest as _, Sha256};
use tepui_types::agent::{Part, PartBody, PartKey, SharedPart, VpcPart};
use tepui_types::{Generation, MacAddress, NodeId, VpcId};
use tokio::sync::Mutex;

use crate::{Cloud, CloudConfig, Error, Kind};

/// VPCs whose part is kept. All together they hold no more than all instances of the cloud.
const KEPT: usize = 1024;

/// Locked while the part is built, so that those who come meanwhile take what the first one built.
type Slot = Arc<Mutex<Option<Arc<SharedPart>>>>;

/// The parts of VPCs, as they were built last.
#[derive(Default)]
pub(crate) struct VpcParts(std::sync::Mutex<HashMap<VpcId, Slot>>);

impl VpcParts {
    fn slot(&self, vpc: VpcId) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= KEPT && !slots.contains_key(&vpc) {
            slots.clear();
        }
        Arc::clone(slots.entry(vpc).or_default())
    }
}

impl Cloud {
    /// A VPC's part of this generation or a newer one.
    pub(super) async fn vpc_part(&self, vpc: VpcId, wanted: Generation) -> Result<Arc<SharedPart>, Error> {
        let slot = self.vpc_parts.slot(vpc);
        let mut kept = slot.lock().await;
        if let Some(part) = kept.as_ref().filter(|part| part.generation >= wanted) {
            return Ok(Arc::clone(part));
        }
        let found = self.db.vpc_part(vpc).await?;
        let (generation, part) = found.ok_or_else(|| Error::not_found(Kind::Vpc, vpc))?;
        let body = PartBody::Vpc(completed(part, &self.config));
        let part = Arc::new(SharedPart::from(Part { key: PartKey::Vpc(vpc), generation, body }));
        Ok(Arc::clone(kept.insert(part)))
    }
}

/// Fills in the domain and the tunnel ends' addresses.
fn completed(mut part: VpcPart, config: &CloudConfig) -> VpcPart {
    part.domain = config.domain();
    for node in &mut part.nodes {
        node.vtep_mac = vtep_mac(part.id, node.id);
    }
    part
}

/// A node's address in a VPC's tunnel: a function of both ids, so that no row has to keep it and
/// every build of a part says the same.
fn vtep_mac(vpc: VpcId, node: NodeId) -> MacAddress {
    let digest = Sha256::digest(format!("{vpc} {node}"));
    let mut bits = [0; 16];
    bits.copy_from_slice(&digest[..16]);
    MacAddress::from_random(u128::from_le_bytes(bits))
}
