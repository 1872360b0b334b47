//! Signed instance identity documents, as the metadata service shows them.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tepui_db::NodePartState;
use tepui_db::model::{InstanceRecord, InstanceState};
use tepui_types::{Digest, InstanceId, NodeId, Timestamp};

use crate::{Cloud, Error};

/// A document with its signature.
pub(super) struct Identity {
    pub(super) document: String,
    pub(super) signature: String,
}

/// Signatures by node and instance, each with the digest of its document; a new launch or type makes a
/// new one. They are those of the nodes' parts as these were built last, so that what has come to its end
/// leaves none. Documents are made from the rows each time: a hundred thousand of them would be most of
/// what a control plane keeps in memory.
#[derive(Default)]
pub(crate) struct IdentityCache(Mutex<HashMap<NodeId, HashMap<InstanceId, Signature>>>);

struct Signature {
    document: Digest,
    text: Box<str>,
}

impl IdentityCache {
    fn nodes(&self) -> MutexGuard<'_, HashMap<NodeId, HashMap<InstanceId, Signature>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, node: NodeId, id: InstanceId, document: Digest) -> Option<String> {
        let nodes = self.nodes();
        let known = nodes.get(&node)?.get(&id).filter(|signature| signature.document == document);
        known.map(|signature| signature.text.to_string())
    }

    fn put(&self, node: NodeId, id: InstanceId, document: Digest, signature: &str) {
        let signature = Signature { document, text: signature.into() };
        self.nodes().entry(node).or_default().insert(id, signature);
    }

    /// Forgets all of a node but these instances.
    fn keep(&self, node: NodeId, live: &HashSet<InstanceId>) {
        let mut nodes = self.nodes();
        if let Some(signatures) = nodes.get_mut(&node) {
            signatures.retain(|id, _| live.contains(id));
            if signatures.is_empty() {
                nodes.remove(&node);
            }
        }
    }

    /// Forgets a node that was given up.
    pub(crate) fn forget(&self, node: NodeId) {
        self.nodes().remove(&node);
    }

    /// How many there are, and of how many nodes.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        let nodes = self.nodes();
        (nodes.values().map(HashMap::len).sum(), nodes.len())
    }
}

/// The fields of AWS's document, in AWS's order (EC2 user guide, "Instance identity documents").
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    account_id: String,
    architecture: &'static str,
    availability_zone: String,
    billing_products: Option<()>,
    devpay_product_codes: Option<()>,
    marketplace_product_codes: Option<()>,
    image_id: String,
    instance_id: String,
    instance_type: &'a str,
    kernel_id: Option<()>,
    pending_time: Timestamp,
    private_ip: Option<String>,
    ramdisk_id: Option<()>,
    region: &'a str,
    version: &'static str,
}

impl Cloud {
    /// The document of an instance. It depends on nothing but its rows and the settings, so that one
    /// generation of a part always has one content.
    pub(super) fn identity_of(&self, node: NodeId, record: &InstanceRecord) -> Result<Identity, Error> {
        let document = self.document(record)?;
        let (id, digest) = (record.instance.id, Digest::of(document.as_bytes()));
        if let Some(signature) = self.identities.get(node, id, digest) {
            return Ok(Identity { document, signature });
        }
        let signature = self.signer.sign(&document);
        self.identities.put(node, id, digest, &signature);
        Ok(Identity { document, signature })
    }

    /// Forgets the signatures that the node's part, which was built of these rows, does not hold. All of
    /// them where the node was given up meanwhile, which a build that was under way does not know.
    pub(super) fn forget_identities(&self, node: NodeId, state: &NodePartState) {
        let ended = [InstanceState::ShuttingDown, InstanceState::Terminated];
        let live = |record: &&InstanceRecord| !ended.contains(&record.instance.state);
        let live = state.records.iter().filter(live).map(|record| record.instance.id);
        let live = if self.fleet.is_given_up(node) { HashSet::new() } else { live.collect() };
        self.identities.keep(node, &live);
    }

    fn document(&self, record: &InstanceRecord) -> Result<String, Error> {
        let instance = &record.instance;
        let document = Document {
            account_id: instance.project_id.to_string(),
            architecture: "x86_64",
            availability_zone: self.config.zone(),
            billing_products: None,
            devpay_product_codes: None,
            marketplace_product_codes: None,
            image_id: instance.image_id.to_string(),
            instance_id: instance.id.to_string(),
            instance_type: &instance.instance_type,
            kernel_id: None,
            pending_time: instance.launched_at,
            private_ip: record.interface.as_ref().map(|interface| interface.private_ip.to_string()),
            ramdisk_id: None,
            region: &self.config.region,
            version: "2017-09-30",
        };
        serde_json::to_string_pretty(&document).map_err(Error::internal)
    }
}
