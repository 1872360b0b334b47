//! Security groups, tags.

use tepui_core::{Error, Kind, NameOrId, NewRule, NewSecurityGroup, RuleSelector};
use tepui_db::model::RulePeer;
use tepui_types::SecurityGroupId;
use tepui_types::agent::{Direction, PortRange, Protocol};

use super::harness::Harness;

fn tcp(port: u16) -> NewRule {
    NewRule {
        protocol: Protocol::Tcp(PortRange { from: port, to: port }),
        peer: RulePeer::Cidr("0.0.0.0/0".parse().unwrap()),
        description: None,
    }
}

fn group(name: &str) -> NewSecurityGroup {
    NewSecurityGroup { name: name.into(), description: "d".into(), vpc_id: None, tags: [].into() }
}

#[tokio::test]
async fn a_new_project_has_the_default_network_of_aws() {
    let t = Harness::new().await;
    let vpc = &t.cloud.vpcs(&t.admin).await.unwrap()[0];
    let subnet = &t.cloud.subnets(&t.admin).await.unwrap()[0];
    assert_eq!((vpc.cidr.to_string().as_str(), vpc.is_default), ("172.31.0.0/16", true));
    assert_eq!((subnet.cidr.to_string().as_str(), subnet.map_public_ip), ("172.31.0.0/20", true));
    let default = t.cloud.security_group(&t.admin, &NameOrId::Name("default".into())).await.unwrap();
    let ingress: Vec<_> = default.rules.iter().filter(|r| r.direction == Direction::Ingress).collect();
    assert_eq!((ingress.len(), ingress[0].peer), (1, RulePeer::Group(default.id)));
    let refused = t.cloud.delete_security_group(&t.admin, &NameOrId::Id(default.id)).await.unwrap_err();
    assert!(matches!(refused, Error::CannotDelete { .. }));
}

#[tokio::test]
async fn rules_are_added_and_removed_all_or_none() {
    let t = Harness::new().await;
    let made = t.cloud.create_security_group(&t.admin, group("web")).await.unwrap();
    let by_id = NameOrId::Id(made.id);
    let authorize = async |rules| t.cloud.authorize(&t.admin, &by_id, Direction::Ingress, rules).await;
    let rules = async || t.cloud.security_group(&t.admin, &by_id).await.unwrap().rules.len();
    let added = authorize(vec![tcp(22), tcp(80)]).await.unwrap();
    assert!(matches!(authorize(vec![tcp(443), tcp(22)]).await, Err(Error::DuplicateRule { .. })));
    assert_eq!(rules().await, 3);
    let backwards = NewRule { protocol: Protocol::Udp(PortRange { from: 9, to: 1 }), ..tcp(1) };
    assert!(matches!(authorize(vec![backwards]).await, Err(Error::InvalidInput { .. })));
    let stranger = NewRule { peer: RulePeer::Group(SecurityGroupId::from_random(5)), ..tcp(1) };
    assert!(matches!(authorize(vec![stranger]).await, Err(Error::NotFound { .. })));
    let many = (1000..1059).map(tcp).collect();
    assert!(matches!(authorize(many).await, Err(Error::LimitExceeded { limit: 60, .. })));
    let revoke = async |rules| t.cloud.revoke(&t.admin, &by_id, Direction::Ingress, rules).await;
    let absent = revoke(RuleSelector::Saying(vec![tcp(80), tcp(81)])).await.unwrap_err();
    assert!(
        matches!(&absent, Error::RuleNotFound { rule } if rule == "ingress tcp 81-81 0.0.0.0/0"),
        "{absent}"
    );
    revoke(RuleSelector::Ids(vec![added[0].id])).await.unwrap();
    revoke(RuleSelector::Saying(vec![tcp(80)])).await.unwrap();
    assert_eq!(rules().await, 1);
}

#[tokio::test]
async fn a_group_in_use_stays() {
    let t = Harness::new().await;
    t.host(1).await;
    let made = t.cloud.create_security_group(&t.admin, group("web")).await.unwrap();
    let image = t.image(&t.admin, "i").await;
    let request = tepui_core::RunInstances {
        security_groups: vec!["web".into()],
        ..tepui_core::RunInstances::new(image, "t3.nano")
    };
    t.cloud.run_instances(&t.admin, request).await.unwrap();
    let refused = t.cloud.delete_security_group(&t.admin, &NameOrId::Id(made.id)).await.unwrap_err();
    assert!(matches!(refused, Error::InUse { kind: Kind::SecurityGroup, .. }));
    let again = t.cloud.create_security_group(&t.admin, group("web")).await.unwrap_err();
    assert!(matches!(again, Error::AlreadyExists { id, .. } if id == made.id.to_string()));
}

#[tokio::test]
async fn tags_go_on_anything_of_the_project_up_to_fifty() {
    let t = Harness::new().await;
    t.host(1).await;
    let made = t.run_one(&t.admin).await;
    let record = &made.instances[0].record;
    let ids = [record.instance.id.to_string(), record.root_volume.as_ref().unwrap().id.to_string()];
    let tags = (0..50).map(|n| (format!("k{n}"), String::new())).collect();
    t.cloud.create_tags(&t.admin, &ids, &tags).await.unwrap();
    let one_more = [("more".to_owned(), String::new())].into();
    let refused = t.cloud.create_tags(&t.admin, &ids, &one_more).await.unwrap_err();
    assert!(matches!(refused, Error::LimitExceeded { limit: 50, .. }));
    t.cloud
        .delete_tags(&t.admin, &ids[..1], &[("k1".into(), Some("other".into())), ("k2".into(), None)])
        .await
        .unwrap();
    let all = t.cloud.tags(&t.admin).await.unwrap();
    assert_eq!((all[&ids[0]].len(), all[&ids[1]].len()), (49, 50));
}
