//! Signed instance identity documents, as the metadata service shows them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use tepui_db::model::InstanceRecord;
use tepui_types::{InstanceId, Timestamp};

use crate::{Cloud, Error};

/// A document with its signature.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) document: String,
    pub(super) signature: String,
}

/// Signed documents by instance; a new launch or type makes a new one.
#[derive(Default)]
pub(crate) struct IdentityCache(Mutex<HashMap<InstanceId, Identity>>);

impl IdentityCache {
    fn get(&self, id: InstanceId, document: &str) -> Option<Identity> {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get(&id).filter(|identity| identity.document == document).cloned()
    }

    fn put(&self, id: InstanceId, identity: &Identity) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, identity.clone());
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
        let id = record.instance.id;
        if let Some(known) = self.identities.get(id, &document) {
            return Ok(known);
        }
        let identity = Identity { signature: self.signer.sign(&document), document };
        self.identities.put(id, &identity);
        Ok(identity)
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
