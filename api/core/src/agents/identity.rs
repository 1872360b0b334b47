//! Signed instance identity documents, as the metadata service shows them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use tepui_db::model::InstanceRecord;
use tepui_types::{Digest, InstanceId, Timestamp};

use crate::{Cloud, Error};

/// A document with its signature.
pub(super) struct Identity {
    pub(super) document: String,
    pub(super) signature: String,
}

/// Signatures by instance, each with the digest of its document; a new launch or type makes a new one.
/// Documents are made from the rows each time: a hundred thousand of them would be most of what a
/// control plane keeps in memory.
#[derive(Default)]
pub(crate) struct IdentityCache(Mutex<HashMap<InstanceId, Signature>>);

struct Signature {
    document: Digest,
    text: Box<str>,
}

impl IdentityCache {
    fn get(&self, id: InstanceId, document: Digest) -> Option<String> {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = cache.get(&id).filter(|signature| signature.document == document);
        known.map(|signature| signature.text.to_string())
    }

    fn put(&self, id: InstanceId, document: Digest, signature: &str) {
        let signature = Signature { document, text: signature.into() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, signature);
    }

    /// Forgets an instance that has come to its end.
    pub(super) fn forget(&self, id: InstanceId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
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
    pub(super) fn identity_of(&self, record: &InstanceRecord) -> Result<Identity, Error> {
        let document = self.document(record)?;
        let (id, digest) = (record.instance.id, Digest::of(document.as_bytes()));
        if let Some(signature) = self.identities.get(id, digest) {
            return Ok(Identity { document, signature });
        }
        let signature = self.signer.sign(&document);
        self.identities.put(id, digest, &signature);
        Ok(Identity { document, signature })
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
