//! Many hosts on one control plane, each with a connection and a certificate of its own.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test; clippy sees only test functions as tests"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tepui_tests::{Cloud, Daemon, Hypervisor, binary, until};

const HOSTS: usize = 200;

/// A process of simulated hosts, and how they stand.
struct Fleet {
    process: Child,
    state: Arc<Mutex<Value>>,
}

impl Fleet {
    fn start(cloud: &Cloud, dir: &Path) -> Self {
        let public: std::net::SocketAddr = cloud.address().parse().unwrap();
        let agents = format!("https://127.0.0.1:{}", public.port() + 1);
        let mut command = Command::new(binary("tepui-fleet"));
        command.args(["--api-url", &agents, "--count", &HOSTS.to_string(), "--dir"]).arg(dir);
        let mut process = command.envs(cloud.variables()).stdout(Stdio::piped()).spawn().unwrap();
        let (state, lines) = (Arc::new(Mutex::default()), process.stdout.take().unwrap());
        let told = Arc::clone(&state);
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                *told.lock().unwrap() = serde_json::from_str(&line).unwrap();
            }
        });
        Self { process, state }
    }

    fn is(&self, name: &str, count: usize) -> Option<()> {
        (self.state.lock().unwrap()[name].as_u64() == Some(count as u64)).then_some(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn up(cloud: &Cloud) -> usize {
    let nodes = cloud.tepui_json(&["node", "list"]);
    let all = nodes.as_array().into_iter().flatten();
    all.filter(|node| {
        node["name"].as_str().unwrap_or_default().starts_with("fleet-") && node["state"] == "up"
    })
    .count()
}

#[test]
fn every_host_comes_back_after_the_death_of_the_control_plane() {
    let mut cloud = Cloud::start(Hypervisor::Simulated, 1);
    let dir = cloud.scratch().join("hosts");
    let fleet = Fleet::start(&cloud, &dir);
    until("all hosts have joined", 120, || fleet.is("back", HOSTS));
    assert_eq!(up(&cloud), HOSTS);
    cloud.kill(Daemon::Api);
    until("all hosts noticed", 30, || fleet.is("back", 0));
    cloud.up();
    until("all hosts are back", 60, || fleet.is("back", HOSTS));
    assert_eq!(up(&cloud), HOSTS);
    assert_eq!(fleet.state.lock().unwrap()["handshakes"], HOSTS * 2, "one connection for each, twice");
    drop(fleet);
    cloud.down();
}
