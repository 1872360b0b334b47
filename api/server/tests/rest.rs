//! The REST surface through its real listener, on a real database.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod kit;

use kit::{Kit, code, refused};
use serde_json::{Value, json};
use tepui_types::endpoint::*;
use tepui_types::rest::*;
use tepui_types::{ErrorCode, ProjectId};

fn group(name: &str) -> CreateSecurityGroupRequest {
    CreateSecurityGroupRequest { name: name.into(), description: String::new() }
}

#[tokio::test]
async fn whoami_tells_user_project_and_use() {
    let kit = Kit::start().await;
    let identity = kit.admin().call::<Whoami>(&[], &Empty {}).await.unwrap();
    assert_eq!(identity.user.name, "admin");
    assert_eq!(identity.user.role, Role::Administrator);
    assert_eq!(identity.project.id, kit.first.project_id);
    assert_eq!((identity.used.instances, identity.region.as_str()), (0, "tepui-1"));
}

#[tokio::test]
async fn without_a_good_token_nothing_is_answered() {
    let kit = Kit::start().await;
    let (key, secret) = kit.first.token.split_once('.').unwrap();
    let wrong = format!("{key}.{}x", &secret[1..]);
    for token in ["", "nonsense", key, wrong.as_str(), "TPAKAAAAAAAAAAAAAAAA.secret"] {
        let outcome = kit.client(token).call::<ListInstances>(&[], &ListInstancesRequest::default()).await;
        assert_eq!(code(outcome), (401, ErrorCode::Unauthenticated), "{token}");
    }
}

#[tokio::test]
async fn a_member_may_not_do_what_is_for_administrators() {
    let kit = Kit::start().await;
    let member = kit.member("mia").await;
    let project = CreateProjectRequest { name: "another".into(), quota: None };
    assert_eq!(code(member.call::<CreateProject>(&[], &project).await), (403, ErrorCode::Forbidden));
    assert_eq!(code(member.call::<ListNodes>(&[], &Empty {}).await).0, 403);
    assert_eq!(code(member.call::<CreateJoinToken>(&[], &Empty {}).await).0, 403);
    assert_eq!(code(member.call::<RunDoctor>(&[], &Empty {}).await).0, 403);
    assert_eq!(code(member.call::<ListUsers>(&[], &Empty {}).await).0, 403);
}

#[tokio::test]
async fn what_belongs_to_another_project_does_not_exist() {
    let kit = Kit::start().await;
    let (mia, tom) = (kit.member("mia").await, kit.member("tom").await);
    let of_mia = mia.call::<CreateSecurityGroup>(&[], &group("web")).await.unwrap();
    let key = CreateKeyPairRequest { name: "mias".into(), ..CreateKeyPairRequest::default() };
    mia.call::<CreateKeyPair>(&[], &key).await.unwrap();
    let id = of_mia.id.to_string();
    let not_found = (404, ErrorCode::NotFound);
    assert_eq!(code(tom.call::<ShowSecurityGroup>(&[&id], &Empty {}).await), not_found);
    assert_eq!(code(tom.call::<DeleteSecurityGroup>(&[&id], &Empty {}).await), not_found);
    assert_eq!(code(tom.call::<ShowKeyPair>(&["mias"], &Empty {}).await), not_found);
    assert_eq!(code(tom.call::<DeleteKeyPair>(&["mias"], &Empty {}).await), not_found);
    let tag = PutTagsRequest { resource: id.clone(), tags: [("a".into(), "b".into())].into() };
    assert_eq!(code(tom.call::<PutTags>(&[], &tag).await), not_found);
    let project = kit.first.project_id.to_string();
    assert_eq!(code(tom.call::<ShowProject>(&[&project], &Empty {}).await), not_found);
    let keys = ListAccessKeysRequest { project: Some(project) };
    assert_eq!(code(tom.call::<ListAccessKeys>(&[], &keys).await), not_found);
    mia.call::<ShowSecurityGroup>(&[&id], &Empty {}).await.unwrap();
}

#[tokio::test]
async fn names_ids_and_their_beginnings_all_find_an_object() {
    let kit = Kit::start().await;
    let admin = kit.admin();
    let made = admin.call::<CreateSecurityGroup>(&[], &group("frontend")).await.unwrap();
    let id = made.id.to_string();
    for text in ["frontend", "fron", &id, &id[..12]] {
        let found = admin.call::<ShowSecurityGroup>(&[text], &Empty {}).await.unwrap();
        assert_eq!(found.id, made.id, "{text}");
    }
    admin.call::<CreateSecurityGroup>(&[], &group("front-2")).await.unwrap();
    let (status, body) = refused(admin.call::<ShowSecurityGroup>(&["front"], &Empty {}).await);
    assert_eq!((status, body.code, body.why.len()), (400, ErrorCode::InvalidInput, 2));
    assert_eq!(code(admin.call::<ShowSecurityGroup>(&["fro"], &Empty {}).await).0, 404);
}

#[tokio::test]
async fn who_names_what_is_not_there_is_told_what_shows_the_names() {
    let kit = Kit::start().await;
    let volume = refused(kit.admin().call::<ShowVolume>(&["data"], &Empty {}).await);
    assert_eq!(volume.1.try_, ["tepui volume list"]);
    let node = refused(kit.admin().call::<ShowNode>(&["node-9"], &Empty {}).await);
    assert_eq!(node.1.try_, ["tepui node list"]);
}

#[tokio::test]
async fn rules_are_added_shown_and_removed() {
    use tepui_types::agent::{Direction, Peer, PortRange, Protocol};
    let kit = Kit::start().await;
    let admin = kit.admin();
    admin.call::<CreateSecurityGroup>(&[], &group("ssh")).await.unwrap();
    let rule = RuleRequest {
        direction: Direction::Ingress,
        protocol: Protocol::Tcp(PortRange { from: 22, to: 22 }),
        peer: Peer::Cidr("0.0.0.0/0".parse().unwrap()),
        description: None,
    };
    let with = admin.call::<AddSecurityGroupRule>(&["ssh"], &rule).await.unwrap();
    assert!(with.rules.iter().any(|shown| shown.protocol == rule.protocol));
    assert_eq!(
        code(admin.call::<AddSecurityGroupRule>(&["ssh"], &rule).await),
        (409, ErrorCode::AlreadyExists)
    );
    let without = admin.call::<RemoveSecurityGroupRule>(&["ssh"], &rule).await.unwrap();
    assert!(!without.rules.iter().any(|shown| shown.protocol == rule.protocol));
    assert_eq!(code(admin.call::<RemoveSecurityGroupRule>(&["ssh"], &rule).await).0, 404);
}

#[tokio::test]
async fn a_rehearsal_is_judged_and_changes_nothing() {
    let kit = Kit::start().await;
    let admin = kit.admin();
    admin.rehearse::<CreateSecurityGroup>(&[], &group("web")).await.unwrap();
    assert_eq!(code(admin.call::<ShowSecurityGroup>(&["web"], &Empty {}).await).0, 404);
    assert_eq!(
        code(admin.rehearse::<CreateSecurityGroup>(&[], &group("")).await),
        (400, ErrorCode::InvalidInput)
    );
    assert_eq!(code(admin.rehearse::<TerminateInstance>(&["nothing"], &Empty {}).await).0, 404);
}

#[tokio::test]
async fn a_launch_without_nodes_says_that_there_is_no_room_and_leaves_nothing() {
    let kit = Kit::start().await;
    let admin = kit.admin();
    let unknown = RunInstancesRequest { image: "debian-12".into(), ..RunInstancesRequest::default() };
    assert_eq!(code(admin.call::<RunInstances>(&[], &unknown).await), (404, ErrorCode::NotFound));
    let all = ListInstancesRequest { terminated: true };
    assert!(admin.call::<ListInstances>(&[], &all).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_key_that_was_deleted_ends_at_once() {
    let kit = Kit::start().await;
    let admin = kit.admin();
    let key = admin.call::<CreateAccessKey>(&[], &CreateAccessKeyRequest::default()).await.unwrap();
    let second = kit.client(&key.token);
    second.call::<Whoami>(&[], &Empty {}).await.unwrap();
    let own = ListAccessKeysRequest::default();
    admin.call::<DeleteAccessKey>(&[&key.access_key.id], &own).await.unwrap();
    assert_eq!(code(second.call::<Whoami>(&[], &Empty {}).await).0, 401);
}

#[tokio::test]
async fn quotas_are_set_and_shown() {
    let kit = Kit::start().await;
    let admin = kit.admin();
    let quota = Quota { instances: 2, vcpus: 4, memory_mib: 4096, volumes: 5_000, volume_gib: 51_200 };
    let project = admin.call::<SetQuota>(&["default"], &quota).await.unwrap();
    assert_eq!(project.quota, quota);
    let unknown = ProjectId::from_random(7).to_string();
    assert_eq!(code(admin.call::<SetQuota>(&[&unknown], &quota).await).0, 404);
}

#[tokio::test]
async fn changes_stand_in_the_events_with_their_request() {
    let kit = Kit::start().await;
    let admin = kit.admin();
    let made = admin.call::<CreateSecurityGroup>(&[], &group("seen")).await.unwrap();
    let request = ListEventsRequest { resource: Some(made.id.to_string()), ..ListEventsRequest::default() };
    let event = kit::until(|| async {
        admin.call::<ListEvents>(&[], &request).await.unwrap().items.into_iter().next()
    })
    .await;
    assert_eq!((event.action.as_str(), event.outcome.as_str()), ("CreateSecurityGroup", "ok"));
    let none = ListEventsRequest { limit: Some(0), ..ListEventsRequest::default() };
    assert_eq!(code(admin.call::<ListEvents>(&[], &none).await), (400, ErrorCode::InvalidInput));
}

#[tokio::test]
async fn the_doctor_finds_an_empty_cloud_well() {
    let kit = Kit::start().await;
    let report = kit.admin().call::<RunDoctor>(&[], &Empty {}).await.unwrap();
    assert!(report.checks.iter().all(|check| check.outcome == CheckOutcome::Pass), "{report:?}");
}

#[tokio::test]
async fn instance_types_and_networks_are_listed() {
    let kit = Kit::start().await;
    let admin = kit.admin();
    assert!(!admin.call::<ListInstanceTypes>(&[], &Empty {}).await.unwrap().items.is_empty());
    assert!(admin.call::<ListVpcs>(&[], &Empty {}).await.unwrap().items[0].is_default);
    assert!(admin.call::<ListSubnets>(&[], &Empty {}).await.unwrap().items[0].is_default);
    assert_eq!(admin.call::<ShowCapacity>(&[], &Empty {}).await.unwrap().nodes, 0);
}

#[tokio::test]
async fn a_refused_change_is_an_event_and_a_refused_look_is_none() {
    let kit = Kit::start().await;
    let (member, admin) = (kit.member("ann").await, kit.admin());
    assert_eq!(code(member.call::<TerminateInstance>(&["i-0123456789abcdef0"], &Empty {}).await).0, 404);
    let new = CreateUserRequest { name: "eve".into(), ..CreateUserRequest::default() };
    assert_eq!(code(member.call::<CreateUser>(&[], &new).await).0, 403);
    assert_eq!(code(member.call::<ListUsers>(&[], &Empty {}).await).0, 403);
    let refused = ListEventsRequest { refused: true, ..ListEventsRequest::default() };
    let told = kit::until(async || {
        let events = member.call::<ListEvents>(&[], &refused).await.unwrap().items;
        (events.len() >= 2).then(|| events.into_iter().map(|e| (e.action, e.resources, e.outcome)))
    })
    .await;
    let foreign = vec!["i-0123456789abcdef0".to_owned()];
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            ("CreateUser".into(), Vec::new(), "forbidden".into()),
            ("TerminateInstances".into(), foreign, "not_found".into()),
        ]
    );
    assert_eq!(admin.call::<ListUsers>(&[], &Empty {}).await.unwrap().items.len(), 2);
    let done = member.call::<ListEvents>(&[], &ListEventsRequest::default()).await.unwrap();
    assert_eq!(done.items, [], "nothing was changed");
}

#[tokio::test]
async fn a_rehearsed_change_is_answered_as_the_change_would_be_and_not_made() {
    let kit = Kit::start().await;
    let admin = kit.admin();
    admin.call::<CreateSecurityGroup>(&[], &group("web")).await.unwrap();
    let user = |name: &str| CreateUserRequest { name: name.into(), ..CreateUserRequest::default() };
    admin.call::<CreateUser>(&[], &user("ada")).await.unwrap();
    let before = everything(&admin).await;

    admin.rehearse::<CreateUser>(&[], &user("eve")).await.unwrap();
    admin.rehearse::<DeleteUser>(&["ada"], &Empty {}).await.unwrap();
    admin.rehearse::<CreateSecurityGroup>(&[], &group("db")).await.unwrap();
    admin.rehearse::<DeleteSecurityGroup>(&["web"], &Empty {}).await.unwrap();
    let project = CreateProjectRequest { name: "research".into(), quota: None };
    admin.rehearse::<CreateProject>(&[], &project).await.unwrap();
    let quota = Quota { instances: 1, vcpus: 1, memory_mib: 1, volumes: 5_000, volume_gib: 51_200 };
    admin.rehearse::<SetQuota>(&["default"], &quota).await.unwrap();
    let new_key = CreateAccessKeyRequest { user: Some("ada".into()), project: None };
    admin.rehearse::<CreateAccessKey>(&[], &new_key).await.unwrap();
    let own = kit.first.access_key_id.as_str();
    admin.rehearse::<DeleteAccessKey>(&[own], &ListAccessKeysRequest { project: None }).await.unwrap();
    assert_eq!(everything(&admin).await, before);

    // Only the write itself finds these out.
    let taken = admin.rehearse::<CreateUser>(&[], &user("ada")).await;
    assert_eq!(code(taken), (409, ErrorCode::AlreadyExists));
    admin.call::<CreateAccessKey>(&[], &new_key).await.unwrap();
    let in_use = admin.rehearse::<DeleteUser>(&["ada"], &Empty {}).await;
    assert_eq!(code(in_use), (409, ErrorCode::Conflict));
}

/// What a rehearsal could have changed.
async fn everything(admin: &tepui_client::Client) -> String {
    let keys = ListAccessKeysRequest { project: None };
    format!(
        "{:?}\n{:?}\n{:?}\n{:?}",
        admin.call::<ListUsers>(&[], &Empty {}).await.unwrap(),
        admin.call::<ListSecurityGroups>(&[], &Empty {}).await.unwrap(),
        admin.call::<ListProjects>(&[], &Empty {}).await.unwrap(),
        admin.call::<ListAccessKeys>(&[], &keys).await.unwrap(),
    )
}

/// The actions of the records, sorted, once there are so many.
async fn actions(client: &tepui_client::Client, count: usize) -> Vec<String> {
    let list = |refused| ListEventsRequest { resource: None, refused, limit: Some(1000) };
    kit::until(async || {
        let mut events = client.call::<ListEvents>(&[], &list(false)).await.unwrap().items;
        events.extend(client.call::<ListEvents>(&[], &list(true)).await.unwrap().items);
        let mut actions: Vec<_> = events.into_iter().map(|event| event.action).collect();
        actions.sort_unstable();
        (actions.len() >= count).then_some(actions)
    })
    .await
}

#[tokio::test]
async fn a_change_whose_request_cannot_be_read_or_finds_nothing_is_recorded_under_its_action() {
    let kit = Kit::start().await;
    let member = kit.member("ann").await;
    let changes: Vec<_> = ALL.iter().filter(|endpoint| endpoint.method != Method::Get).collect();
    for endpoint in &changes {
        let segment = |part: &'static str| if part.starts_with('{') { "no-such" } else { part };
        let path = endpoint.path.split('/').map(segment).collect::<Vec<_>>().join("/");
        let request = member.prepare_raw(endpoint.method, &path, Some(&json!({ "colour": 1 }))).unwrap();
        let (status, _) = refused(member.send::<Value>(&request).await);
        assert!((400..500).contains(&status), "{}: {status}", endpoint.name);
    }
    let mut expected: Vec<_> = changes.iter().map(|endpoint| endpoint.action).collect();
    expected.sort_unstable();
    assert_eq!(actions(&member, expected.len()).await, expected);
}

#[tokio::test]
async fn an_operation_has_one_name_in_the_audit_however_it_ends() {
    use tepui_types::agent::{Direction, Peer, Protocol};
    let kit = Kit::start().await;
    let member = kit.member("ann").await;
    let made = member.call::<CreateSecurityGroup>(&[], &group("web")).await.unwrap();
    let mut expected = vec!["CreateSecurityGroup".to_owned()];
    let mut both = |action: &str| expected.extend([action.to_owned(), action.to_owned()]);
    for (direction, name) in [(Direction::Ingress, "Ingress"), (Direction::Egress, "Egress")] {
        let peer = Peer::Cidr("192.0.2.0/24".parse().unwrap());
        let rule = RuleRequest { direction, protocol: Protocol::All, peer, description: None };
        member.call::<AddSecurityGroupRule>(&["web"], &rule).await.unwrap();
        member.call::<AddSecurityGroupRule>(&["no-such"], &rule).await.unwrap_err();
        member.call::<RemoveSecurityGroupRule>(&["web"], &rule).await.unwrap();
        member.call::<RemoveSecurityGroupRule>(&["no-such"], &rule).await.unwrap_err();
        both(&format!("AuthorizeSecurityGroup{name}"));
        both(&format!("RevokeSecurityGroup{name}"));
    }
    for resource in [made.id.to_string(), "sg-0123456789abcdef0".to_owned()] {
        let tags = [("a".to_owned(), "b".to_owned())].into();
        let _ = member.call::<PutTags>(&[], &PutTagsRequest { resource: resource.clone(), tags }).await;
        let _ = member.call::<DeleteTag>(&[], &DeleteTagRequest { resource, key: "a".into() }).await;
    }
    both("CreateTags");
    both("DeleteTags");
    for key in [ED25519, "no key"] {
        let key = CreateKeyPairRequest {
            name: "laptop".into(),
            public_key: Some(key.to_owned()),
            ..CreateKeyPairRequest::default()
        };
        let _ = member.call::<CreateKeyPair>(&[], &key).await;
    }
    both("ImportKeyPair");
    expected.sort_unstable();
    assert_eq!(actions(&member, expected.len()).await, expected);
}

const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ann";
