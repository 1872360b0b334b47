//! SSH key pairs.

use tepui_core::{Kind, NameOrId, acts_as};
use tepui_db::model;
use tepui_types::rest::{CreateKeyPairRequest, CreatedKeyPair, Empty, KeyKind, KeyPair, List};

use super::resolve::pick;
use super::routes::Call;
use crate::failure::Failure;

/// The key pair that a text names.
pub(super) async fn find(call: &Call, text: &str) -> Result<model::KeyPair, Failure> {
    let keys = call.cloud().key_pairs(&call.caller).await?;
    let id = pick(Kind::KeyPair, text, keys.iter().map(|key| (key.id, Some(key.name.clone()))))?;
    let found = keys.into_iter().find(|key| key.id == id);
    found.ok_or_else(|| tepui_core::Error::not_found(Kind::KeyPair, id).into())
}

pub(super) async fn create(call: Call, request: CreateKeyPairRequest) -> Result<CreatedKeyPair, Failure> {
    let (cloud, caller, name) = (call.cloud(), &call.caller, request.name.as_str());
    let tags = Default::default();
    match (request.public_key, request.kind) {
        (Some(key), None) => {
            acts_as("ImportKeyPair");
            let key_pair = cloud.import_key_pair(caller, name, key.as_bytes(), &tags).await?;
            Ok(CreatedKeyPair { key_pair: shown(key_pair), private_key: None })
        }
        (None, kind) => {
            let kind = stored_kind(kind.unwrap_or_default());
            let new = cloud.create_key_pair(caller, name, kind, &tags).await?;
            Ok(CreatedKeyPair { key_pair: shown(new.key_pair), private_key: Some(new.private_key) })
        }
        (Some(_), Some(_)) => {
            Err(Failure::Malformed("a public key has its kind already: give either of them".into()))
        }
    }
}

pub(super) async fn list(call: Call, _: Empty) -> Result<List<KeyPair>, Failure> {
    let keys = call.cloud().key_pairs(&call.caller).await?;
    Ok(List { items: keys.into_iter().map(shown).collect() })
}

pub(super) async fn show(call: Call, _: Empty) -> Result<KeyPair, Failure> {
    Ok(shown(find(&call, call.target()).await?))
}

pub(super) async fn delete(call: Call, _: Empty) -> Result<Empty, Failure> {
    let key = find(&call, call.target()).await?;
    call.cloud().delete_key_pair(&call.caller, &NameOrId::Id(key.id)).await?;
    Ok(Empty {})
}

fn shown(key: model::KeyPair) -> KeyPair {
    KeyPair {
        id: key.id,
        name: key.name,
        kind: match key.kind {
            model::KeyKind::Ed25519 => KeyKind::Ed25519,
            model::KeyKind::Rsa => KeyKind::Rsa,
        },
        fingerprint: key.fingerprint,
        public_key: key.public_key,
        created_at: key.created_at,
    }
}

fn stored_kind(kind: KeyKind) -> model::KeyKind {
    match kind {
        KeyKind::Ed25519 => model::KeyKind::Ed25519,
        KeyKind::Rsa => model::KeyKind::Rsa,
    }
}
