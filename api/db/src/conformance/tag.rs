//! Tags and key pairs.

use std::sync::Arc;

use tepui_types::KeyPairId;

use super::world::{CAPACITY, World};
use crate::model::{KeyKind, KeyPair};
use crate::{CreateOutcome, Db};

fn pair(key: &str, value: &str) -> (String, String) {
    (key.into(), value.into())
}

pub async fn tags_are_set_replaced_removed_and_limited(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let resource = alpha.vpc.to_string();
    let resources = [resource.clone()];
    let put = async |tags: &[(String, String)], max| {
        world.db.put_tags(alpha.project, &resources, tags, max).await.unwrap()
    };
    let tags = async || world.db.tags(alpha.project).await.unwrap().remove(&resource).unwrap_or_default();
    assert_eq!(put(&[pair("a", "1"), pair("b", "2")], 2).await, None);
    assert_eq!(put(&[pair("a", "3")], 2).await, None);
    assert_eq!(put(&[pair("c", "4")], 2).await, Some(resource.clone()));
    assert_eq!(tags().await, [pair("a", "3"), pair("b", "2")].into());
    assert!(world.db.tags(beta.project).await.unwrap().is_empty());
    let remove = async |tags: &[(String, Option<String>)]| {
        world.db.delete_tags(alpha.project, &resources, tags).await.unwrap();
    };
    remove(&[("a".into(), Some("1".into()))]).await;
    assert_eq!(tags().await.len(), 2, "another value stays");
    remove(&[("a".into(), None)]).await;
    assert_eq!(tags().await, [pair("b", "2")].into());
    remove(&[]).await;
    assert_eq!(tags().await, [].into());
}

pub async fn tags_of_an_instance_grow_its_node(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let node = world.node(CAPACITY).await;
    let id = world.running(&alpha, node).await;
    let before = world.node_generation(node).await;
    let resources = [id.to_string()];
    world.db.put_tags(alpha.project, &resources, &[pair("Name", "web")], 50).await.unwrap();
    assert_eq!(world.record(&alpha, id).await.tags, [pair("Name", "web")].into());
    assert_eq!(world.records(&alpha).await[0].tags, [pair("Name", "web")].into());
    let set = world.node_generation(node).await;
    assert!(set > before);
    world.db.put_tags(beta.project, &resources, &[pair("Name", "foreign")], 50).await.unwrap();
    assert_eq!(world.node_generation(node).await, set, "a foreign tag changes nothing of the node's");
    world.db.delete_tags(alpha.project, &resources, &[]).await.unwrap();
    assert!(world.node_generation(node).await > set);
    assert!(world.record(&alpha, id).await.tags.is_empty());
}

pub async fn key_pairs_have_unique_names_and_stay_in_their_project(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let key = KeyPair {
        id: KeyPairId::from_random(world.bits()),
        project_id: alpha.project,
        name: "mine".into(),
        kind: KeyKind::Ed25519,
        fingerprint: "SHA256:x".into(),
        public_key: "ssh-ed25519 AAAA".into(),
        created_at: world.now(),
    };
    let created = world.db.create_key_pair(&key, &[pair("a", "1")]).await.unwrap();
    assert_eq!(created, CreateOutcome::Created);
    let other = KeyPair { id: KeyPairId::from_random(world.bits()), ..key.clone() };
    assert_eq!(world.db.create_key_pair(&other, &[]).await.unwrap(), CreateOutcome::NameTaken(key.id));
    assert_eq!(world.db.key_pairs(alpha.project).await.unwrap(), std::slice::from_ref(&key));
    assert_eq!(world.db.key_pairs(beta.project).await.unwrap(), []);
    assert_eq!(world.db.delete_key_pair(beta.project, key.id).await.unwrap(), None);
    assert_eq!(world.db.tags(alpha.project).await.unwrap().len(), 1, "a foreign delete keeps the tags");
    assert_eq!(world.db.delete_key_pair(alpha.project, key.id).await.unwrap(), Some(key.clone()));
    assert_eq!(world.db.delete_key_pair(alpha.project, key.id).await.unwrap(), None);
    assert!(world.db.tags(alpha.project).await.unwrap().is_empty());
}
