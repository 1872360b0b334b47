//! What was written of an instance is shown again as long as it is true, and no longer.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tepui_db::model::Quota;

use crate::client::Client;
use crate::harness::Harness;

/// Something that happens to one of a project's instances; numbers are taken modulo what there is.
#[derive(Debug, Clone, Copy)]
enum Verb {
    Run { public: bool },
    Power(&'static str, usize),
    Tag(usize, u8),
    Untag(usize),
    Attribute(usize, &'static str, &'static str),
    Group(usize, bool),
    Metadata(usize, u8),
    Settle,
}

fn verb() -> impl Strategy<Value = Verb> {
    let at = 0..8usize;
    let power = prop::sample::select(vec![
        "StopInstances",
        "StartInstances",
        "RebootInstances",
        "TerminateInstances",
    ]);
    let attribute = prop::sample::select(vec![
        ("InstanceType.Value", "t3.small"),
        ("InstanceType.Value", "t3.micro"),
        ("DisableApiStop.Value", "true"),
        ("DisableApiStop.Value", "false"),
    ]);
    prop_oneof![
        4 => any::<bool>().prop_map(|public| Verb::Run { public }),
        6 => (power, at.clone()).prop_map(|(action, at)| Verb::Power(action, at)),
        2 => (at.clone(), 0..3u8).prop_map(|(at, value)| Verb::Tag(at, value)),
        1 => at.clone().prop_map(Verb::Untag),
        2 => (attribute, at.clone()).prop_map(|((name, value), at)| Verb::Attribute(at, name, value)),
        2 => (at.clone(), any::<bool>()).prop_map(|(at, both)| Verb::Group(at, both)),
        1 => (at, 1..4u8).prop_map(|(at, limit)| Verb::Metadata(at, limit)),
        6 => Just(Verb::Settle),
    ]
}

/// A project with what its instances are made of.
struct Tenant {
    client: Client,
    image: String,
    groups: [String; 2],
}

impl Tenant {
    async fn new(harness: &Harness, client: Client) -> Self {
        let image = harness.image(&client, "debian").await;
        let group = async |name: &str| {
            let params = [("GroupName", name), ("GroupDescription", "of a test")];
            client.ok("CreateSecurityGroup", &params).await.text_at("groupId").to_owned()
        };
        let groups = [group("one").await, group("two").await];
        Self { client, image, groups }
    }

    async fn ids(&self) -> Vec<String> {
        let reply = self.client.ok("DescribeInstances", &[]).await;
        let instances = reply.items("reservationSet").iter().flat_map(|r| r.items("instancesSet"));
        instances.map(|instance| instance.text_at("instanceId").to_owned()).collect()
    }

    /// Does it, or has it refused: both must be shown.
    async fn does(&self, harness: &Harness, verb: Verb) {
        let ids = self.ids().await;
        let id = |at: usize| ids.get(at % ids.len().max(1)).map_or("i-00000000000000000", String::as_str);
        let call = async |action: &str, params: &[(&str, &str)]| drop(self.client.call(action, params).await);
        match verb {
            Verb::Settle => harness.settle().await,
            Verb::Run { public } => {
                let run = [
                    ("ImageId", self.image.as_str()),
                    ("InstanceType", "t3.nano"),
                    ("MinCount", "2"),
                    ("MaxCount", "2"),
                    ("NetworkInterface.1.DeviceIndex", "0"),
                    ("NetworkInterface.1.AssociatePublicIpAddress", if public { "true" } else { "false" }),
                ];
                call("RunInstances", &run).await;
            }
            Verb::Power(action, at) => call(action, &[("InstanceId.1", id(at))]).await,
            Verb::Tag(at, value) => {
                let value = value.to_string();
                let tag = [("ResourceId.1", id(at)), ("Tag.1.Key", "Name"), ("Tag.1.Value", &value)];
                call("CreateTags", &tag).await;
            }
            Verb::Untag(at) => call("DeleteTags", &[("ResourceId.1", id(at)), ("Tag.1.Key", "Name")]).await,
            Verb::Attribute(at, name, value) => {
                call("ModifyInstanceAttribute", &[("InstanceId", id(at)), (name, value)]).await;
            }
            Verb::Group(at, both) => {
                let mut params = vec![("InstanceId", id(at)), ("GroupId.1", self.groups[0].as_str())];
                params.extend(both.then_some(("GroupId.2", self.groups[1].as_str())));
                call("ModifyInstanceAttribute", &params).await;
            }
            Verb::Metadata(at, limit) => {
                let limit = limit.to_string();
                let params = [("InstanceId", id(at)), ("HttpPutResponseHopLimit", limit.as_str())];
                call("ModifyInstanceMetadataOptions", &params).await;
            }
        }
    }

    /// Every way to ask has the reply that an endpoint without memory gives.
    async fn check(&self, harness: &Harness) -> Result<(), TestCaseError> {
        let ids = self.ids().await;
        let mut ways = vec![
            vec![],
            vec![("MaxResults", "5")],
            vec![("Filter.1.Name", "instance-state-name"), ("Filter.1.Value.1", "running")],
        ];
        ways.extend(ids.last().map(|id| vec![("InstanceId.1", id.as_str())]));
        for way in ways {
            let fresh = harness.afresh(&self.client).call("DescribeInstances", &way).await.body;
            let kept = self.client.call("DescribeInstances", &way).await.body;
            prop_assert_eq!(kept, fresh);
        }
        Ok(())
    }
}

#[test]
fn after_every_change_the_reply_is_what_an_endpoint_without_memory_gives() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { cases: 8, failure_persistence: None, ..Config::default() };
    let sequences = prop::collection::vec((any::<bool>(), verb()), 1..40);
    TestRunner::new(config)
        .run(&sequences, |verbs| {
            runtime.block_on(async {
                let harness = Harness::new().await;
                let other = harness.member("other").await;
                let tenants =
                    [Tenant::new(&harness, harness.admin.clone()).await, Tenant::new(&harness, other).await];
                for (first, verb) in verbs {
                    tenants[usize::from(!first)].does(&harness, verb).await;
                    for tenant in &tenants {
                        tenant.check(&harness).await?;
                    }
                }
                Ok(())
            })
        })
        .unwrap();
}

#[tokio::test]
async fn a_long_reply_says_how_long_it_is_once_most_of_it_was_written_before() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    let caller = harness.caller(&client.key_id).await;
    let quota =
        Quota { instances: 1000, vcpus: 1000, memory_mib: 1 << 20, volumes: 5_000, volume_gib: 51_200 };
    harness.cloud.set_quota(&caller, caller.project, quota).await.unwrap();
    let image = harness.image(client, "debian").await;
    let run = |count: &'static str| {
        let image = ("ImageId", image.as_str());
        [image, ("InstanceType", "t3.nano"), ("MinCount", count), ("MaxCount", count)]
    };
    client.ok("RunInstances", &run("80")).await;
    let length = async || {
        let reply = client.call("DescribeInstances", &[]).await;
        assert_eq!(reply.body, harness.afresh(client).call("DescribeInstances", &[]).await.body);
        (reply.bytes, reply.body.len())
    };
    assert_eq!(length().await.0, None);
    let (stated, bytes) = length().await;
    assert_eq!(stated, Some(bytes));
    client.ok("RunInstances", &run("1")).await;
    let (stated, more) = length().await;
    assert_eq!(stated, Some(more));
    assert!(more > bytes);
}
