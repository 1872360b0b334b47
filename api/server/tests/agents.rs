//! The agents' listener: who may join, who is let in, and who is not.
#![expect(clippy::unwrap_used, reason = "helpers of tests may")]

mod kit;

use kit::Kit;
use kit::host::{MACHINE, agent, csr, enrol, host, join_token, news, report, url};
use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tepui_server::Server;
use tepui_types::Digest;
use tepui_types::endpoint::{
    CreateSecurityGroup, ExplainInstance, ListEvents, RunInstances, SetInstance, ShowImage, ShowInstance,
};
use tepui_types::rest::{
    CreateSecurityGroupRequest, Empty, Image, Instance, ListEventsRequest, RunInstancesRequest,
    SetInstanceRequest,
};

const OTHER_MACHINE: &str = "7f2c1a52-4b0b-4b59-9a0f-0f4f4f0a7c12";

async fn poll(kit: &Kit, agent: &reqwest::Client) -> reqwest::Result<StatusCode> {
    let request = json!({ "epoch": 0, "agent_run": 1, "have": [], "wait_ms": 0 });
    Ok(agent.post(url(kit, "/agent/v1/poll")).json(&request).send().await?.status())
}

async fn run(kit: &Kit, image: &str) -> Instance {
    let request = RunInstancesRequest { image: image.into(), ..RunInstancesRequest::default() };
    let made = kit.admin().call::<RunInstances>(&[], &request).await.unwrap();
    made.items.into_iter().next().unwrap()
}

/// An image that has come in.
async fn image(kit: &Kit, name: &str) -> Image {
    let mut bytes = vec![0; 1 << 20];
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    let upload = format!("{}/v1/images?name={name}", kit.url());
    let request = reqwest::Client::new().post(upload).bearer_auth(&kit.first.token).body(bytes);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    let admin = kit.admin();
    kit::until(|| async { admin.call::<ShowImage>(&[name], &Empty {}).await.ok() }).await
}

/// A certificate of the cloud's own authority, for any name and time.
fn certify(kit: &Kit, key: &KeyPair, name: &str, from: i32, to: i32) -> String {
    let pki = kit.folder.path().join("pki");
    let ca_key = KeyPair::from_pem(&std::fs::read_to_string(pki.join("ca.key")).unwrap()).unwrap();
    let ca = std::fs::read_to_string(pki.join("ca.pem")).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    params.signed_by(key, &Issuer::from_ca_cert_pem(&ca, ca_key).unwrap()).unwrap().pem()
}

#[tokio::test]
async fn a_host_joins_polls_and_renews_and_its_old_certificate_ends_with_the_first_use_of_the_new() {
    let kit = Kit::start().await;
    let (token, key) = (join_token(&kit).await, KeyPair::generate().unwrap());
    let (status, reply) = enrol(&kit, &token, MACHINE, &csr(&key)).await;
    assert_eq!(status, StatusCode::OK, "{reply}");
    let first = reply["certificate_pem"].as_str().unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(first.as_bytes()).unwrap();
    assert!(!pem.parse_x509().unwrap().is_ca(), "the request's own wishes are ignored");
    let old = agent(&kit, Some((first, &key)));
    assert_eq!(poll(&kit, &old).await.unwrap(), StatusCode::OK);

    let new_key = KeyPair::generate().unwrap();
    let renewal = json!({ "csr_pem": csr(&new_key) });
    let response = old.post(url(&kit, "/agent/v1/renew")).json(&renewal).send().await.unwrap();
    let reply: Value = response.json().await.unwrap();
    let second = reply["certificate_pem"].as_str().unwrap();
    assert_eq!(poll(&kit, &agent(&kit, Some((first, &key)))).await.unwrap(), StatusCode::OK);
    assert_eq!(poll(&kit, &agent(&kit, Some((second, &new_key)))).await.unwrap(), StatusCode::OK);
    assert_eq!(poll(&kit, &agent(&kit, Some((first, &key)))).await.unwrap(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_is_for_one_machine_which_may_repeat_itself() {
    let kit = Kit::start().await;
    let (token, key) = (join_token(&kit).await, KeyPair::generate().unwrap());
    let (_, once) = enrol(&kit, &token, MACHINE, &csr(&key)).await;
    let (_, twice) = enrol(&kit, &token, MACHINE, &csr(&key)).await;
    assert_eq!(once["node_id"], twice["node_id"]);
    let (status, body) = enrol(&kit, &token, OTHER_MACHINE, &csr(&key)).await;
    assert_eq!((status, &body["code"]), (StatusCode::FORBIDDEN, &json!("forbidden")), "{body}");
    assert_eq!(enrol(&kit, "unknown", MACHINE, &csr(&key)).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_bad_signing_request_does_not_use_the_token_up() {
    let kit = Kit::start().await;
    let (token, key) = (join_token(&kit).await, KeyPair::generate().unwrap());
    let (status, body) = enrol(&kit, &token, OTHER_MACHINE, "nonsense").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    assert!(body["message"].as_str().unwrap().starts_with("csr_pem"), "{body}");
    assert_eq!(enrol(&kit, &token, MACHINE, &csr(&key)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn without_a_certificate_only_enrolment_answers() {
    let kit = Kit::start().await;
    let stranger = agent(&kit, None);
    assert_eq!(poll(&kit, &stranger).await.unwrap(), StatusCode::UNAUTHORIZED);
    for path in ["/agent/v1/renew", "/agent/v1/report"] {
        let status = stranger.post(url(&kit, path)).json(&json!({})).send().await.unwrap().status();
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let image = format!("/agent/v1/images/{}", Digest::of(b"x"));
    assert_eq!(stranger.get(url(&kit, &image)).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_stranger_sends_no_large_bodies() {
    let kit = Kit::start().await;
    let (status, body) = enrol(&kit, "unknown", MACHINE, &"x".repeat(20_000)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{body}");
}

#[tokio::test]
async fn a_node_is_given_the_images_of_its_own_placements_only() {
    let kit = Kit::start().await;
    let agent = host(&kit).await;
    let path = url(&kit, &format!("/agent/v1/images/{}", image(&kit, "debian").await.digest));
    assert_eq!(agent.get(&path).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    run(&kit, "debian").await;
    assert_eq!(agent.get(&path).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn the_doctor_is_named_to_administrators_where_something_holds_an_instance_up() {
    let kit = Kit::start().await;
    let (admin, member, agent) = (kit.admin(), kit.colleague("mia").await, host(&kit).await);
    image(&kit, "debian").await;
    let id = run(&kit, "debian").await.id.to_string();
    let explain = async |client: &tepui_client::Client| {
        client.call::<ExplainInstance>(&[&id], &Empty {}).await.unwrap()
    };
    assert_eq!(explain(&admin).await.try_, ["tepui doctor"], "{:?}", explain(&admin).await.facts);
    assert_eq!(explain(&member).await.try_, [""; 0], "they may not ask it");
    let parts = news(&kit, &agent).await["parts"].as_array().unwrap().clone();
    let applied = parts.iter().map(|part| json!({ "key": part["key"], "generation": part["generation"] }));
    report(&kit, &agent, 2, &applied.collect::<Vec<_>>()).await;
    assert_eq!(explain(&admin).await.try_, [""; 0], "{:?}", explain(&admin).await.facts);
}

#[tokio::test]
async fn of_several_changes_a_bad_one_leaves_none() {
    let kit = Kit::start().await;
    let (admin, _agent) = (kit.admin(), host(&kit).await);
    image(&kit, "debian").await;
    let before = run(&kit, "debian").await;
    let group = CreateSecurityGroupRequest { name: "web".into(), description: String::new() };
    admin.call::<CreateSecurityGroup>(&[], &group).await.unwrap();
    // The first is for a stopped instance only, the second is of no type that there is.
    for instance_type in ["t3.small", "t9.nano"] {
        let change = SetInstanceRequest {
            groups: Some(vec!["web".into()]),
            instance_type: Some(instance_type.into()),
            disable_api_stop: Some(true),
            ..SetInstanceRequest::default()
        };
        kit::refused(admin.call::<SetInstance>(&[&before.id.to_string()], &change).await);
        let after = admin.call::<ShowInstance>(&[&before.id.to_string()], &Empty {}).await.unwrap();
        assert_eq!((&after.group_ids, after.disable_api_stop), (&before.group_ids, false), "{instance_type}");
    }
    let change = SetInstanceRequest {
        groups: Some(vec!["web".into()]),
        disable_api_stop: Some(true),
        disable_api_termination: Some(true),
        ..SetInstanceRequest::default()
    };
    let after = admin.call::<SetInstance>(&[&before.id.to_string()], &change).await.unwrap();
    assert!(after.disable_api_stop && after.disable_api_termination && after.group_ids != before.group_ids);
    let list = ListEventsRequest { resource: Some(before.id.to_string()), ..ListEventsRequest::default() };
    let recorded = kit::until(async || {
        let events = admin.call::<ListEvents>(&[], &list).await.unwrap().items;
        let changes = events.iter().filter(|event| event.action == "ModifyInstanceAttribute").count();
        (changes > 0).then_some(changes)
    });
    assert_eq!(recorded.await, 1, "one call is one record");
}

#[tokio::test]
async fn foreign_and_expired_certificates_do_not_get_through_the_handshake() {
    let kit = Kit::start().await;
    let name = tepui_types::NodeId::from_random(1).to_string();
    let key = KeyPair::generate().unwrap();
    let foreign = CertificateParams::default().self_signed(&key).unwrap().pem();
    let expired = certify(&kit, &key, &name, 2000, 2001);
    let early = certify(&kit, &key, &name, 2090, 2091);
    for certificate in [foreign, expired, early] {
        assert!(poll(&kit, &agent(&kit, Some((&certificate, &key)))).await.is_err());
    }
}

#[tokio::test]
async fn a_certificate_of_ours_that_no_node_holds_is_refused() {
    let kit = Kit::start().await;
    let key = KeyPair::generate().unwrap();
    for name in [tepui_types::NodeId::from_random(1).to_string(), "somebody".into()] {
        let certificate = certify(&kit, &key, &name, 2020, 2090);
        let status = poll(&kit, &agent(&kit, Some((&certificate, &key)))).await.unwrap();
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{name}");
    }
}

#[tokio::test]
async fn the_public_listener_gives_the_identity_certificate_to_everybody() {
    let kit = Kit::start().await;
    let pem =
        reqwest::get(format!("{}/v1/identity-certificate", kit.url())).await.unwrap().text().await.unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
}

#[tokio::test]
async fn a_pool_with_a_hosts_address_in_it_is_refused_at_the_start() {
    let kit = Kit::start().await;
    host(&kit).await;
    let kit::Kit { folder: _folder, mut config, server, .. } = kit;
    server.shutdown().await;
    config.network.public_pool = Some("10.213.0.0/24".parse().unwrap());
    let Err(error) = Server::start(&config).await else { panic!("it must not start") };
    let told = error.to_string();
    assert!(told.starts_with("network.public_pool = \"10.213.0.0/24\": must not hold"), "{told}");
    assert!(told.ends_with("node-1 has 10.213.0.11"), "{told}");
    config.network.public_pool = Some("198.18.0.0/28".parse().unwrap());
    Server::start(&config).await.unwrap().shutdown().await;
}
