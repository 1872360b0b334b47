//! A host by its requests.

use rcgen::{CertificateParams, KeyPair};
use reqwest::{Certificate, Identity, StatusCode};
use serde_json::{Value, json};
use tepui_types::Digest;
use tepui_types::agent::StorageObserved;
use tepui_types::endpoint::{CreateJoinToken, CreatePool};
use tepui_types::rest::{CreatePoolRequest, Empty, Pool, PoolBackend};

use super::Kit;

pub(crate) const MACHINE: &str = "6f2c1a52-4b0b-4b59-9a0f-0f4f4f0a7c11";

pub(crate) async fn join_token(kit: &Kit) -> String {
    let token = kit.admin().call::<CreateJoinToken>(&[], &Empty {}).await.unwrap().token;
    let (secret, fingerprint) = token.split_once('.').unwrap();
    let pem = std::fs::read_to_string(&kit.first.ca_pem_path).unwrap();
    let (_, der) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    assert_eq!(fingerprint, Digest::of(&der.contents).to_string());
    secret.to_owned()
}

/// Gives a node a pool of iSCSI with volumes of a class.
pub(crate) async fn pool(kit: &Kit, node: &str, name: &str, class: &str) -> Pool {
    let request = CreatePoolRequest {
        name: name.into(),
        class: class.into(),
        backend: PoolBackend::Iscsi,
        node: node.into(),
        path: format!("/srv/{name}"),
        filer: None,
        soft_percent: 80,
        hard_percent: 90,
    };
    kit.admin().call::<CreatePool>(&[], &request).await.unwrap()
}

pub(crate) fn agent(kit: &Kit, identity: Option<(&str, &KeyPair)>) -> reqwest::Client {
    let pem = std::fs::read(&kit.first.ca_pem_path).unwrap();
    let builder = reqwest::Client::builder().tls_certs_only([Certificate::from_pem(&pem).unwrap()]);
    let builder = match identity {
        None => builder,
        Some((certificate, key)) => {
            let pem = format!("{}{certificate}", key.serialize_pem());
            builder.identity(Identity::from_pem(pem.as_bytes()).unwrap())
        }
    };
    builder.build().unwrap()
}

pub(crate) fn url(kit: &Kit, path: &str) -> String {
    format!("https://{}{path}", kit.server.agents_addr)
}

pub(crate) fn csr(key: &KeyPair) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.serialize_request(key).unwrap().pem().unwrap()
}

pub(crate) async fn enrol(kit: &Kit, token: &str, machine: &str, csr_pem: &str) -> (StatusCode, Value) {
    let request = json!({
        "token": token, "machine_uuid": machine, "name": "node-1", "csr_pem": csr_pem,
        "underlay_address": "10.213.0.11",
        "capacity": { "vcpus": 4, "memory_mib": 8192, "disk_gib": 100 },
    });
    let response = agent(kit, None).post(url(kit, "/agent/v1/enrol")).json(&request).send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

pub(crate) async fn epoch(kit: &Kit, agent: &reqwest::Client) -> u64 {
    news(kit, agent).await["epoch"].as_u64().unwrap()
}

pub(crate) async fn news(kit: &Kit, agent: &reqwest::Client) -> Value {
    let request = json!({ "epoch": 0, "agent_run": 1, "have": [], "wait_ms": 0 });
    let reply = agent.post(url(kit, "/agent/v1/poll")).json(&request).send().await.unwrap();
    reply.json().await.unwrap()
}

/// A host that has joined and said what it has.
pub(crate) async fn host(kit: &Kit) -> reqwest::Client {
    let key = KeyPair::generate().unwrap();
    let (_, joined) = enrol(kit, &join_token(kit).await, MACHINE, &csr(&key)).await;
    let agent = agent(kit, Some((joined["certificate_pem"].as_str().unwrap(), &key)));
    report(kit, &agent, 1, &[]).await;
    agent
}

pub(crate) async fn report(kit: &Kit, agent: &reqwest::Client, sequence: u64, applied: &[Value]) {
    tell(kit, agent, sequence, applied, None).await;
}

/// What it says of its pools too.
pub(crate) async fn tell(
    kit: &Kit,
    agent: &reqwest::Client,
    sequence: u64,
    applied: &[Value],
    storage: Option<StorageObserved>,
) {
    let report = json!({
        "epoch": epoch(kit, agent).await, "agent_run": 1, "sequence": sequence,
        "observed": {
            "agent_version": "0.1.0", "boot_id": "boot",
            "capacity": { "vcpus": 4, "memory_mib": 8192, "disk_gib": 100 },
            "usage": { "disk_free_bytes": 100_u64 << 30 },
            "applied": applied, "refused": [], "placements": [], "impaired": null,
            "storage": storage,
        },
    });
    let told = agent.post(url(kit, "/agent/v1/report")).json(&report).send().await.unwrap();
    assert_eq!(told.status(), StatusCode::OK, "{}", told.text().await.unwrap());
}
