//! The daemons' configuration files.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::Hypervisor;
use super::names::{Addresses, Names};
use super::state::State;
use super::topology::AGENTS_PORT;
use crate::failure::{Failure, Result};

/// The region of every dev cloud.
pub(super) const REGION: &str = "tepui-1";

/// `DIR/api.toml`.
pub(super) fn api(names: &Names, state: &State) -> Result<PathBuf> {
    let addresses = Addresses { network: state.network };
    let agents = match state.hypervisor {
        Hypervisor::Libvirt => json!({ "socket": "systemd", "names": [addresses.api()] }),
        Hypervisor::Sim => json!({ "listen": sim_agents(state), "names": ["127.0.0.1"] }),
    };
    let content = json!({
        "data_dir": names.dir().join("api"),
        "region": REGION,
        "public": { "listen": state.listen },
        "agents": agents,
        "metrics": { "listen": beside(state, 1000) },
        "network": { "public_pool": addresses.public_pool() },
        "scheduling": { "vcpu_overcommit": vcpu_overcommit(state.hypervisor) },
    });
    write(names.dir().join("api.toml"), &content)
}

/// `DIR/nN/node.toml`.
pub(super) fn node(names: &Names, state: &State, number: u16) -> Result<PathBuf> {
    let addresses = Addresses { network: state.network };
    let content = json!({
        "api_url": format!("https://{}:{AGENTS_PORT}", addresses.api()),
        // Inside the host's mount namespace.
        "data_dir": names.node_run(number).join("data"),
        "run_dir": names.node_run(number).join("run"),
        "name": format!("node-{number}"),
        "underlay_address": addresses.node(number),
        "uplink": "eth0",
        "hypervisor": { "kind": "libvirt", "uri": "qemu:///system", "accelerator": "auto" },
    });
    write(names.node_dir(number).join("node.toml"), &content)
}

/// `DIR/sim.toml`; the tokens are in `DIR/sim-tokens`.
pub(super) fn simulation(names: &Names, state: &State) -> Result<PathBuf> {
    let content = json!({
        "api_url": format!("https://{}", sim_agents(state)),
        "data_dir": names.dir().join("sim"),
        "count": state.nodes,
        "join_tokens_file": names.dir().join("sim-tokens"),
    });
    write(names.dir().join("sim.toml"), &content)
}

/// A dev cloud's guests mostly wait, and its machine may have two processors: with four virtual ones for
/// each of them, eight of the smallest guests would fill it.
fn vcpu_overcommit(hypervisor: Hypervisor) -> f64 {
    match hypervisor {
        Hypervisor::Libvirt => 16.0,
        Hypervisor::Sim => 4.0,
    }
}

fn sim_agents(state: &State) -> String {
    beside(state, 1)
}

/// A port on loopback that follows from the public one.
fn beside(state: &State, offset: u16) -> String {
    format!("127.0.0.1:{}", state.listen.port().wrapping_add(offset))
}

fn write(path: PathBuf, content: &Value) -> Result<PathBuf> {
    let text = toml::to_string(content).map_err(|e| Failure::failed(e.to_string()))?;
    write_text(&path, &text)?;
    Ok(path)
}

/// Writes a file whole; its folder is there. A daemon that reads it meanwhile sees the old text or
/// the new one, never half of it.
pub(super) fn write_text(path: &Path, text: &str) -> Result<()> {
    let failed = |e: &io::Error| Failure::io(path.display(), e);
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder).map_err(|e| failed(&e))?;
    file.write_all(text.as_bytes()).map_err(|e| failed(&e))?;
    file.persist(path).map_err(|e| failed(&e.error))?;
    Ok(())
}
