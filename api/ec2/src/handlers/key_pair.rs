//! Key pairs.

use std::collections::BTreeMap;

use tepui_core::{Kind, NameOrId};
use tepui_db::model::{KeyKind, KeyPair};
use tepui_types::KeyPairId;

use super::select::select;
use super::{fixed, text};
use crate::error::ApiError;
use crate::generated::{
    CreateKeyPairRequest, DeleteKeyPairRequest, DeleteKeyPairResult, DescribeKeyPairsRequest,
    DescribeKeyPairsResult, ImportKeyPairRequest, ImportKeyPairResult, KeyPair as CreatedShape, KeyPairInfo,
};
use crate::mechanism::{Field, apply, one, parse_id, parse_ids, shown_tags, tags_for};
use crate::operation::{Context, Handle};
use crate::wire::Text;

const FILTERS: &[Field<KeyPairInfo>] = &[
    ("fingerprint", |k| one(&k.key_fingerprint)),
    ("key-name", |k| one(&k.key_name)),
    ("key-pair-id", |k| one(&k.key_pair_id)),
];

impl Handle for CreateKeyPairRequest {
    async fn handle(self, cx: &Context) -> Result<CreatedShape, ApiError> {
        let kind = match self.key_type.as_deref() {
            None | Some("rsa") => KeyKind::Rsa,
            Some("ed25519") => KeyKind::Ed25519,
            Some(other) => return Err(ApiError::invalid_value("KeyType", other, "It is rsa or ed25519.")),
        };
        if let Some(other) = self.key_format.filter(|format| format != "pem") {
            return Err(ApiError::invalid_value("KeyFormat", &other, "This cloud writes pem."));
        }
        let [tags] = tags_for(self.tag_specifications, ["key-pair"])?;
        let created = cx.cloud.create_key_pair(&cx.caller, &self.key_name, kind, &tags).await?;
        Ok(CreatedShape {
            key_fingerprint: text(created.key_pair.fingerprint),
            key_material: text(created.private_key),
            key_name: text(created.key_pair.name),
            key_pair_id: text(created.key_pair.id),
            tags: shown_tags(&tags),
        })
    }
}

impl Handle for ImportKeyPairRequest {
    async fn handle(self, cx: &Context) -> Result<ImportKeyPairResult, ApiError> {
        let [tags] = tags_for(self.tag_specifications, ["key-pair"])?;
        let key = &self.public_key_material.0;
        let imported = cx.cloud.import_key_pair(&cx.caller, &self.key_name, key, &tags).await;
        let imported = imported.map_err(|error| match error {
            tepui_core::Error::InvalidInput { field: "public_key", .. } => ApiError::new(
                "InvalidKey.Format",
                format!("Key is not in valid OpenSSH public key format: {error}"),
            ),
            error => error.into(),
        })?;
        Ok(ImportKeyPairResult {
            key_fingerprint: text(imported.fingerprint),
            key_name: text(imported.name),
            key_pair_id: text(imported.id),
            tags: shown_tags(&tags),
        })
    }
}

impl Handle for DescribeKeyPairsRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeKeyPairsResult, ApiError> {
        let ids: Vec<KeyPairId> = parse_ids(Kind::KeyPair, &self.key_pair_ids)?;
        let keys = cx.cloud.key_pairs(&cx.caller).await?;
        let keys = select(Kind::KeyPair, keys, &ids, |key| key.id)?;
        let keys = select(Kind::KeyPair, keys, &self.key_names, |key| Text::from(key.name.clone()))?;
        let mut tags = cx.cloud.tags(&cx.caller).await?;
        let with_key = self.include_public_key.unwrap_or(false);
        let shapes = keys
            .into_iter()
            .map(|key| shape(&tags.remove(&key.id.to_string()).unwrap_or_default(), key, with_key))
            .collect();
        Ok(DescribeKeyPairsResult { key_pairs: apply(&cx.filters, FILTERS, |key| &key.tags, shapes)? })
    }
}

impl Handle for DeleteKeyPairRequest {
    async fn handle(self, cx: &Context) -> Result<DeleteKeyPairResult, ApiError> {
        let key = match (self.key_pair_id, self.key_name) {
            (Some(id), None) => NameOrId::Id(parse_id(Kind::KeyPair, &id)?),
            (None, Some(name)) => NameOrId::Name(name.into()),
            (None, None) => return Err(ApiError::missing("KeyName")),
            (Some(_), Some(_)) => return Err(ApiError::combination("Give KeyName or KeyPairId, not both.")),
        };
        let deleted = cx.cloud.delete_key_pair(&cx.caller, &key).await?;
        Ok(DeleteKeyPairResult {
            key_pair_id: deleted.map(|key| key.id.to_string().into()),
            return_: Some(true),
        })
    }
}

fn shape(tags: &BTreeMap<String, String>, key: KeyPair, with_key: bool) -> KeyPairInfo {
    KeyPairInfo {
        create_time: Some(key.created_at),
        key_fingerprint: text(key.fingerprint),
        key_name: text(key.name),
        key_pair_id: text(key.id),
        key_type: match key.kind {
            KeyKind::Ed25519 => fixed("ed25519"),
            KeyKind::Rsa => fixed("rsa"),
        },
        public_key: with_key.then(|| key.public_key.into()),
        tags: shown_tags(tags),
    }
}
