//! Tags and key pairs.

use std::sync::Arc;

use tepui_types::agent::{Direction, Protocol};
use tepui_types::{KeyPairId, PlacementGroupId, ProjectId, SecurityGroupRuleId, SubnetId};

use super::world::{CAPACITY, World};
use crate::model::{KeyKind, KeyPair, PlacementGroup, PlacementStrategy, Rule, RulePeer};
use crate::{CreateOutcome, Cutoffs, Db, RuleChange, TagOutcome, rehearse};

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
    assert_eq!(put(&[pair("a", "1"), pair("b", "2")], 2).await, TagOutcome::Set);
    assert_eq!(put(&[pair("a", "3")], 2).await, TagOutcome::Set);
    assert_eq!(put(&[pair("c", "4")], 2).await, TagOutcome::TooMany(resource.clone()));
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
    let foreign = world.db.put_tags(beta.project, &resources, &[pair("Name", "foreign")], 50).await.unwrap();
    assert_eq!(foreign, TagOutcome::NotFound(id.to_string()));
    assert_eq!(world.node_generation(node).await, set, "a foreign tag changes nothing of the node's");
    world.db.delete_tags(alpha.project, &resources, &[]).await.unwrap();
    assert!(world.node_generation(node).await > set);
    assert!(world.record(&alpha, id).await.tags.is_empty());
}

pub async fn only_what_the_project_has_is_tagged(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let put = async |resources: &[String]| {
        world.db.put_tags(alpha.project, resources, &[pair("a", "1")], 50).await.unwrap()
    };
    for missing in [beta.vpc.to_string(), SubnetId::from_random(world.bits()).to_string(), "x".into()] {
        let resources = [alpha.vpc.to_string(), missing.clone()];
        assert_eq!(put(&resources).await, TagOutcome::NotFound(missing));
    }
    assert!(world.db.tags(alpha.project).await.unwrap().is_empty(), "all or nothing");
    let node = world.node(CAPACITY).await;
    let instance = world.pending(&alpha, node).await;
    world.terminate(&alpha, instance).await;
    assert_eq!(put(&[instance.to_string()]).await, TagOutcome::Set, "it is still shown");
    world.db.purge(&Cutoffs::all(world.now()), 50).await.unwrap();
    assert_eq!(put(&[instance.to_string()]).await, TagOutcome::NotFound(instance.to_string()));
}

pub async fn every_kind_of_resource_is_tagged_until_it_is_gone(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let put = async |resource: &str| {
        world.db.put_tags(alpha.project, &[resource.to_owned()], &[pair("a", "1")], 50).await.unwrap()
    };
    let node = world.node(CAPACITY).await;
    let instance = world.pending(&alpha, node).await;
    let record = world.record(&alpha, instance).await;
    let (interface, volume) = (record.interface.unwrap().id, record.root_volume.unwrap().id);
    let task = world.import_task(alpha.project);
    world.db.put_import_task(&task).await.unwrap();
    let key = key_pair(&world, alpha.project);
    world.db.create_key_pair(&key, &[]).await.unwrap();
    let group = PlacementGroup {
        id: PlacementGroupId::from_random(world.bits()),
        project_id: alpha.project,
        name: "apart".into(),
        strategy: PlacementStrategy::Spread,
        created_at: world.now(),
    };
    world.db.create_placement_group(&group).await.unwrap();
    let rule = Rule {
        id: SecurityGroupRuleId::from_random(world.bits()),
        direction: Direction::Ingress,
        protocol: Protocol::All,
        peer: RulePeer::Group(alpha.group),
        description: None,
    };
    let add = RuleChange::Add(vec![rule.clone()]);
    world.db.change_rules(alpha.project, alpha.group, &add, 1).await.unwrap();
    for resource in [
        instance.to_string(),
        interface.to_string(),
        volume.to_string(),
        task.id.to_string(),
        key.id.to_string(),
        group.id.to_string(),
        rule.id.to_string(),
        alpha.image.to_string(),
        alpha.vpc.to_string(),
        alpha.subnet.to_string(),
        alpha.group.to_string(),
    ] {
        assert_eq!(put(&resource).await, TagOutcome::Set, "{resource}");
    }
    world.terminate(&alpha, instance).await;
    world.db.deregister_image(alpha.project, alpha.image).await.unwrap();
    for gone in [interface.to_string(), volume.to_string(), alpha.image.to_string()] {
        assert_eq!(put(&gone).await, TagOutcome::NotFound(gone));
    }
}

fn key_pair(world: &World, project: ProjectId) -> KeyPair {
    KeyPair {
        id: KeyPairId::from_random(world.bits()),
        project_id: project,
        name: "mine".into(),
        kind: KeyKind::Ed25519,
        fingerprint: "SHA256:x".into(),
        public_key: "ssh-ed25519 AAAA".into(),
        created_at: world.now(),
    }
}

pub async fn key_pairs_have_unique_names_and_stay_in_their_project(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let key = key_pair(&world, alpha.project);
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

pub async fn a_rehearsed_change_answers_and_leaves_nothing(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let key = key_pair(&world, alpha.project);
    let made = rehearse(world.db.create_key_pair(&key, &[pair("a", "1")])).await;
    assert_eq!(made.unwrap(), CreateOutcome::Created);
    assert_eq!(world.db.key_pairs(alpha.project).await.unwrap(), []);
    world.db.create_key_pair(&key, &[]).await.unwrap();
    let other = KeyPair { id: KeyPairId::from_random(world.bits()), ..key.clone() };
    let refused = rehearse(world.db.create_key_pair(&other, &[])).await;
    assert_eq!(refused.unwrap(), CreateOutcome::NameTaken(key.id), "as the change itself would be");
    let deleted = rehearse(world.db.delete_key_pair(alpha.project, key.id)).await;
    assert_eq!(deleted.unwrap(), Some(key.clone()));
    assert_eq!(world.db.key_pairs(alpha.project).await.unwrap(), [key], "and is there still");
}
