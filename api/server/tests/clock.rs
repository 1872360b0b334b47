//! The control plane while somebody sets its clock. libfaketime shows it another time of day; the time
//! that only passes stays.
#![expect(clippy::unwrap_used, reason = "helpers of tests may")]

mod kit;

use std::fs;

use kit::process::{How, Process};
use rcgen::{CertificateParams, KeyPair};
use reqwest::{Certificate, Identity, StatusCode};
use serde_json::{Value, json};
use tepui_types::endpoint::{CreateJoinToken, ListNodes, Whoami};
use tepui_types::rest::{Empty, NodeState};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
const LIST: &str = "Action=DescribeInstances&Version=2016-11-15";

/// Starts the process with a clock that is as far off as `off` says, which the test may change.
async fn run(process: &mut Process, off: &str) {
    let file = process.folder.path().join("off");
    fs::write(&file, off).unwrap();
    let with = [
        ("LD_PRELOAD", LIBRARY),
        ("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    process.run(How { with: &with, ..How::default() }).await;
}

fn set(process: &Process, off: &str) {
    fs::write(process.folder.path().join("off"), off).unwrap();
}

/// A host's agent: what it is told to trust, and who it is.
struct Agent {
    ca: Certificate,
    identity: Identity,
}

impl Agent {
    async fn join(process: &Process) -> Self {
        let token = process.client().call::<CreateJoinToken>(&[], &Empty {}).await.unwrap().token;
        let ca = Certificate::from_pem(&fs::read(process.word("ca_pem_path")).unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let request = json!({
            "token": token.split_once('.').unwrap().0, "csr_pem": csr, "name": "node-1",
            "machine_uuid": "6f2c1a52-4b0b-4b59-9a0f-0f4f4f0a7c11", "underlay_address": "10.213.0.11",
            "capacity": { "vcpus": 4, "memory_mib": 8192, "disk_gib": 100 },
        });
        let url = format!("https://{}/agent/v1/enrol", process.agents);
        let client = reqwest::Client::builder().tls_certs_only([ca.clone()]).build().unwrap();
        let joined: Value = client.post(url).json(&request).send().await.unwrap().json().await.unwrap();
        let pem = format!("{}{}", key.serialize_pem(), joined["certificate_pem"].as_str().unwrap());
        Self { ca, identity: Identity::from_pem(pem.as_bytes()).unwrap() }
    }

    /// The same host with a new certificate, which it got over a connection that it has.
    async fn renewed(&self, process: &Process, connected: &reqwest::Client) -> Self {
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let url = format!("https://{}/agent/v1/renew", process.agents);
        let reply = connected.post(url).json(&json!({ "csr_pem": csr })).send().await.unwrap();
        let reply: Value = reply.json().await.unwrap();
        let pem = format!("{}{}", key.serialize_pem(), reply["certificate_pem"].as_str().unwrap());
        Self { ca: self.ca.clone(), identity: Identity::from_pem(pem.as_bytes()).unwrap() }
    }

    /// A client that has no connection yet.
    fn client(&self) -> reqwest::Client {
        let builder = reqwest::Client::builder().tls_certs_only([self.ca.clone()]);
        builder.identity(self.identity.clone()).build().unwrap()
    }
}

async fn poll(process: &Process, client: &reqwest::Client) -> reqwest::Result<StatusCode> {
    let request = json!({ "epoch": 0, "agent_run": 1, "have": [], "wait_ms": 0 });
    let url = format!("https://{}/agent/v1/poll", process.agents);
    Ok(client.post(url).json(&request).send().await?.status())
}

async fn node_is_up(process: &Process) -> bool {
    let nodes = process.client().call::<ListNodes>(&[], &Empty {}).await.unwrap().items;
    nodes.len() == 1 && nodes[0].state == NodeState::Up
}

#[tokio::test]
async fn a_clock_that_is_set_while_agents_are_connected_loses_none_and_ec2_says_that_times_differ() {
    let mut process = Process::new();
    run(&mut process, "+0").await;
    let mut agent = Agent::join(&process).await;
    for off in ["+10d", "-10d"] {
        let connected = agent.client();
        assert_eq!(poll(&process, &connected).await.unwrap(), StatusCode::OK);
        set(&process, off);
        let (status, body) = process.ec2(LIST);
        assert!(status == 400 && body.contains("<Code>RequestExpired</Code>"), "{off}: {status} {body}");
        assert!(body.contains("is not within the time allowed around"), "{off}: {body}");
        process.client().call::<Whoami>(&[], &Empty {}).await.unwrap();
        assert_eq!(poll(&process, &connected).await.unwrap(), StatusCode::OK, "{off}");
        assert!(node_is_up(&process).await, "{off}");
        agent = agent.renewed(&process, &connected).await;
        assert_eq!(poll(&process, &agent.client()).await.unwrap(), StatusCode::OK, "{off}");
        set(&process, "+0");
        assert_eq!(process.ec2(LIST).0, 200);
        assert_eq!(poll(&process, &agent.client()).await.unwrap(), StatusCode::OK, "{off}");
    }
}

#[tokio::test]
async fn a_start_by_a_wrong_clock_refuses_certificates_and_takes_them_again_when_it_is_right() {
    let mut process = Process::new();
    run(&mut process, "+0").await;
    let agent = Agent::join(&process).await;
    for off in ["+10d", "-10d"] {
        process.kill();
        run(&mut process, off).await;
        let refused = poll(&process, &agent.client()).await.unwrap_err();
        assert!(refused.is_connect() || refused.is_request(), "{off}: {refused:?}");
        set(&process, "+0");
        // Also the listener's own certificate is not one of the future any more.
        assert_eq!(poll(&process, &agent.client()).await.unwrap(), StatusCode::OK, "{off}");
        assert!(node_is_up(&process).await, "{off}");
    }
}
