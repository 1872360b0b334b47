//! `tepui dev up`: stage after stage, each of which leaves alone what stands already.

use std::fs;
use std::io::{PipeReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tepui_client::Client;
use tepui_types::endpoint::{CreateJoinToken, ListNodes};
use tepui_types::rest::{Empty, NodeState};
use tokio::time::{Instant, sleep};
use uuid::Builder;

use super::marker;
use super::names::{Addresses, Names};
use super::node::Host;
use super::process::{self, Process};
use super::state::{Credentials, State};
use super::{Hypervisor, Up, config, env, tools, topology};
use crate::failure::{Failure, Result};
use crate::session::Session;

/// How long a daemon may take to answer, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// A host needs an address of the underlay's /24.
const MOST_HOSTS: u16 = 200;

struct Cloud<'a> {
    names: Names,
    state: State,
    bin_dir: PathBuf,
    own: PathBuf,
    session: &'a mut Session,
    /// Whether anything had to be started.
    has_started: bool,
}

/// Starts the cloud, or what is missing of it.
pub(super) async fn run(up: &Up, session: &mut Session) -> Result<()> {
    check(up)?;
    fs::create_dir_all(&up.dir).map_err(|e| Failure::io(up.dir.display(), &e))?;
    let dir = fs::canonicalize(&up.dir).map_err(|e| Failure::io(up.dir.display(), &e))?;
    let names = Names::of(&dir);
    let _lock = marker::ensure(&names)?;
    fs::create_dir_all(dir.join("log")).map_err(|e| Failure::io(dir.display(), &e))?;
    let state = state(&names, up)?;
    let own = std::env::current_exe().map_err(|e| Failure::io("this program's path", &e))?;
    let beside = || own.parent().unwrap_or(Path::new("/usr/bin")).to_owned();
    let bin_dir = up.bin_dir.clone().unwrap_or_else(beside);
    let mut cloud = Cloud { names, state, bin_dir, own, session, has_started: false };
    cloud.start().await?;
    cloud.say_ready();
    Ok(())
}

fn check(up: &Up) -> Result<()> {
    if !up.listen.ip().is_loopback() {
        return Err(Failure::usage(format!("--listen {}: a dev cloud listens on loopback only", up.listen))
            .try_("tepui dev up --listen 127.0.0.1:8773 --dir DIR"));
    }
    if up.hypervisor == Hypervisor::Libvirt && up.nodes > MOST_HOSTS {
        let rule = format!("--nodes {}: at most {MOST_HOSTS} hosts with libvirt", up.nodes);
        return Err(Failure::usage(rule).try_("tepui dev up --hypervisor sim --nodes 2000 --dir DIR"));
    }
    Ok(())
}

/// The state on disk, or a new one; the options of the first `up` hold.
fn state(names: &Names, up: &Up) -> Result<State> {
    if let Some(state) = State::load(names.dir())? {
        return same_options(names, up, state);
    }
    let state = State {
        network: topology::free_network(names)?,
        listen: up.listen,
        nodes: up.nodes,
        hypervisor: up.hypervisor,
        credentials: None,
        joined: Vec::new(),
        processes: Default::default(),
    };
    state.save(names.dir())?;
    Ok(state)
}

fn same_options(names: &Names, up: &Up, state: State) -> Result<State> {
    let wanted: (SocketAddr, u16, Hypervisor) = (up.listen, up.nodes, up.hypervisor);
    if wanted == (state.listen, state.nodes, state.hypervisor) {
        return Ok(state);
    }
    let dir = names.dir().display();
    let kind = if state.hypervisor == Hypervisor::Sim { "sim" } else { "libvirt" };
    Err(Failure::usage(format!("the cloud in {dir} was started with other options"))
        .why(format!("it has --listen {} --nodes {} --hypervisor {kind}", state.listen, state.nodes))
        .try_(format!("sudo tepui dev down --dir {dir}")))
}

impl Cloud<'_> {
    async fn start(&mut self) -> Result<()> {
        let addresses = Addresses { network: self.state.network };
        if self.state.hypervisor == Hypervisor::Libvirt {
            topology::ensure(&self.names, addresses)?;
        }
        self.ensure_credentials()?;
        self.ensure_api(addresses).await?;
        match self.state.hypervisor {
            Hypervisor::Libvirt => {
                for number in 1..=self.state.nodes {
                    self.ensure_node(addresses, number).await?;
                }
            }
            Hypervisor::Sim => self.ensure_simulation().await?,
        }
        self.wait_for_nodes().await
    }

    fn say_ready(&mut self) {
        let (dir, listen) = (self.names.dir().display(), self.state.listen);
        let verb = if self.has_started { "is up" } else { "is up already" };
        let text = format!("dev: the cloud {verb} at http://{listen}; next: . {dir}/env");
        self.session.note(&text);
    }

    fn stage(&mut self, text: &str) {
        self.has_started = true;
        self.session.note(&format!("dev: {text}"));
    }

    fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.bin_dir.join(name);
        let missing = || {
            Failure::failed(format!("there is no {}", path.display()))
                .try_("cargo build --release")
                .try_("tepui dev up --bin-dir target/release --dir DIR")
        };
        if path.is_file() { Ok(path) } else { Err(missing()) }
    }

    /// Writes down a daemon the moment it runs.
    fn remember(&mut self, daemon: &str, process: Process) -> Result<()> {
        self.state.processes.insert(daemon.into(), process);
        self.state.save(self.names.dir())
    }

    fn ensure_credentials(&mut self) -> Result<Credentials> {
        let config = config::api(&self.names, &self.state)?;
        if let Some(credentials) = &self.state.credentials {
            return Ok(credentials.clone());
        }
        self.stage("creating the database, keys and first project");
        let program = self.program("tepui-api")?;
        let answer = tools::finish(Command::new(program).arg("--config").arg(config).arg("init"))?;
        let parsed = serde_json::from_str::<Credentials>(&answer);
        let credentials = parsed.map_err(|e| Failure::failed(format!("tepui-api init answered: {e}")))?;
        self.state.credentials = Some(credentials.clone());
        self.state.save(self.names.dir())?;
        env::write(&self.names, &self.state, &credentials)?;
        Ok(credentials)
    }

    async fn ensure_api(&mut self, addresses: Addresses) -> Result<()> {
        if !self.state.runs("tepui-api") {
            self.stage("starting tepui-api");
            let program = self.program("tepui-api")?;
            let config = self.names.dir().join("api.toml");
            let log = self.names.log("tepui-api");
            let process = match self.state.hypervisor {
                Hypervisor::Libvirt => {
                    let socket = topology::agents_socket(&self.names, addresses)?;
                    process::start(&mut with_inherited_socket(&program, &config), Some(socket), &log)?
                }
                Hypervisor::Sim => {
                    process::start(Command::new(program).arg("--config").arg(config), None, &log)?
                }
            };
            self.remember("tepui-api", process)?;
        }
        let credentials = self.ensure_credentials()?;
        env::write(&self.names, &self.state, &credentials)?;
        self.wait_for_api().await
    }

    async fn wait_for_api(&mut self) -> Result<()> {
        let client = self.client()?;
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = client.call::<ListNodes>(&[], &Empty {}).await {
            self.check_alive("tepui-api")?;
            if Instant::now() >= deadline {
                return Err(
                    late("tepui-api does not answer", &self.names.log("tepui-api")).why(error.to_string())
                );
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    fn check_alive(&self, daemon: &str) -> Result<()> {
        if self.state.runs(daemon) {
            return Ok(());
        }
        Err(process::died(daemon, &self.names.log(daemon)))
    }

    fn client(&mut self) -> Result<Client> {
        let credentials = self.ensure_credentials()?;
        Ok(Client::new(&format!("http://{}", self.state.listen), &credentials.token, None)?)
    }

    async fn ensure_node(&mut self, addresses: Addresses, number: u16) -> Result<()> {
        let daemon = format!("tepui-node-{number}");
        topology::ensure_node(&self.names, addresses, number)?;
        let (host_uuid, boot_id) = (self.random_uuid(), self.random_uuid());
        let names = self.names.clone();
        let host = Host { names: &names, number };
        host.ensure(&host_uuid, &boot_id)?;
        self.ensure_libvirtd(&host).await?;
        if self.state.runs(&daemon) {
            return Ok(());
        }
        self.stage(&format!("starting tepui-node on host {number}"));
        let (program, config) = (self.program("tepui-node")?, config::node(&names, &self.state, number)?);
        if !self.state.joined.contains(&number) {
            let token = self.join_token().await?;
            let mut join = host.inside(&program);
            join.arg("--config").arg(&config).args(["join", "-"]).stdin(input(&token)?);
            tools::finish(&mut join)?;
            self.state.joined.push(number);
        }
        let mut command = host.inside(&program);
        command.arg("--config").arg(&config).arg("run");
        self.remember(&daemon, process::start(&mut command, None, &names.log(&daemon))?)
    }

    fn random_uuid(&self) -> String {
        Builder::from_random_bytes(first_16((self.session.world.random)())).into_uuid().to_string()
    }

    async fn ensure_libvirtd(&mut self, host: &Host<'_>) -> Result<()> {
        if host.has_libvirtd() {
            return Ok(());
        }
        let daemon = format!("libvirtd-{}", host.number);
        self.stage(&format!("starting libvirtd on host {}", host.number));
        let own = self.own.clone();
        self.remember(&daemon, host.start_libvirtd(&own)?)?;
        let deadline = Instant::now() + PATIENCE;
        while !host.has_libvirtd() {
            self.check_alive(&daemon)?;
            if Instant::now() >= deadline {
                return Err(late("libvirtd does not answer", &self.names.log(&daemon)));
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn join_token(&mut self) -> Result<String> {
        Ok(self.client()?.call::<CreateJoinToken>(&[], &Empty {}).await?.token)
    }

    async fn ensure_simulation(&mut self) -> Result<()> {
        if self.state.runs("tepui-node") {
            return Ok(());
        }
        self.stage(&format!("starting {} simulated hosts", self.state.nodes));
        if self.state.joined.is_empty() {
            let mut tokens = String::new();
            for _ in 0..self.state.nodes {
                tokens += &self.join_token().await?;
                tokens.push('\n');
            }
            super::state::write_secret(&self.names.dir().join("sim-tokens"), tokens.as_bytes())?;
            self.state.joined = (1..=self.state.nodes).collect();
        }
        let config = config::simulation(&self.names, &self.state)?;
        let mut command = Command::new(self.program("tepui-node")?);
        command.arg("--config").arg(config).arg("simulate");
        let process = process::start(&mut command, None, &self.names.log("tepui-node"))?;
        self.remember("tepui-node", process)
    }

    async fn wait_for_nodes(&mut self) -> Result<()> {
        let client = self.client()?;
        let agents: Vec<String> =
            self.state.processes.keys().filter(|name| name.starts_with("tepui-node")).cloned().collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let nodes = client.call::<ListNodes>(&[], &Empty {}).await?.items;
            let those = |state| nodes.iter().filter(|node| node.state == state).count();
            let (up, given_up) = (those(NodeState::Up), those(NodeState::Expunged));
            if up + given_up >= usize::from(self.state.nodes) {
                return Ok(());
            }
            agents.iter().try_for_each(|agent| self.check_alive(agent))?;
            if Instant::now() >= deadline {
                let what = format!("{up} of {} hosts are up", self.state.nodes);
                let log = agents.first().map(|agent| self.names.log(agent)).unwrap_or_default();
                return Err(late(&what, &log));
            }
            sleep(PAUSE).await;
        }
    }
}

/// systemd's protocol wants the socket as descriptor 3 and the receiver's pid in its environment,
/// which only the process itself knows before it becomes the program: so a shell does that.
fn with_inherited_socket(program: &Path, config: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\" 3<&0 </dev/null", "sh"]);
    command.arg(program).arg("--config").arg(config);
    command
}

/// A standard input that gives a short text: other users see a program's arguments.
fn input(text: &str) -> Result<PipeReader> {
    let failed = |e| Failure::io("a pipe", &e);
    let (reader, mut writer) = std::io::pipe().map_err(failed)?;
    writer.write_all(text.as_bytes()).map_err(failed)?;
    Ok(reader)
}

fn late(what: &str, log: &Path) -> Failure {
    let failure = process::died(what, log);
    Failure { message: format!("{what} after {} s", PATIENCE.as_secs()), ..failure }
}

fn first_16(bytes: [u8; 32]) -> [u8; 16] {
    let mut first = [0; 16];
    first.copy_from_slice(&bytes[..16]);
    first
}
