//! A dev cloud of the test's own.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use crate::boot::{Boot, Emulators};
use crate::process::{Output, finish};
use crate::{binary, python, until};

/// So long it may take until the doctors find what is so: what an agent found it tells for half a minute more.
const DOCTORS_SECONDS: u64 = 75;

/// What the hosts of a cloud are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hypervisor {
    /// Real libvirt and QEMU.
    Libvirt,
    /// Simulated hosts, for scale and faults.
    Simulated,
}

/// A running cloud; ended when dropped.
#[derive(Debug)]
pub struct Cloud {
    folder: TempDir,
    hypervisor: Hypervisor,
    nodes: usize,
    environment: BTreeMap<String, String>,
    ended: bool,
}

impl Cloud {
    /// Starts a cloud with `nodes` hosts and waits until it answers.
    ///
    /// # Panics
    /// When it does not come up; the message holds what `tepui dev up` said. When the test failed before, unless
    /// QEMU's emulation was to blame.
    #[track_caller]
    pub fn start(hypervisor: Hypervisor, nodes: usize) -> Self {
        Self::allow_attempt();
        let folder = tempfile::Builder::new().prefix("tp-").tempdir_in("/tmp").ok();
        let Some(folder) = folder else { unreachable!("/tmp is writable") };
        let mut cloud = Self { folder, hypervisor, nodes, environment: BTreeMap::new(), ended: false };
        cloud.up();
        cloud
    }

    /// Runs `tepui dev up` again: starts what died.
    #[track_caller]
    pub fn up(&mut self) {
        self.dev_up(&mut Command::new(binary("tepui"))).ok();
        self.environment = read_environment(&self.cloud_folder().join("env"));
    }

    /// The same, but daemons that are started end at `point`, which may be before `tepui dev up` has seen
    /// them.
    #[track_caller]
    pub fn up_armed(&self, point: &str) {
        drop(self.dev_up(Command::new(binary("tepui")).env("TEPUI_FAILPOINT", format!("{point}=exit"))));
    }

    fn dev_up(&self, command: &mut Command) -> Output {
        let kind = match self.hypervisor {
            Hypervisor::Libvirt => "libvirt",
            Hypervisor::Simulated => "sim",
        };
        let port = if self.environment.is_empty() { free_port() } else { self.port() };
        let (listen, nodes) = (format!("127.0.0.1:{port}"), self.nodes.to_string());
        let folder = self.cloud_folder();
        finish(command.args(["dev", "up", "--dir"]).arg(folder).args([
            "--listen",
            &listen,
            "--nodes",
            &nodes,
            "--hypervisor",
            kind,
        ]))
    }

    /// Ends the cloud and shows that it could be ended.
    #[track_caller]
    pub fn down(mut self) {
        self.ended = true;
        self.dev_down().ok();
    }

    /// The folder that `tepui dev` was given.
    pub fn cloud_folder(&self) -> PathBuf {
        self.folder.path().join("c")
    }

    pub(crate) fn hypervisor(&self) -> Hypervisor {
        self.hypervisor
    }

    /// How many hosts it has.
    pub(crate) fn nodes(&self) -> u16 {
        u16::try_from(self.nodes).unwrap_or(u16::MAX)
    }

    /// A folder for the test's own files.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// A variable of the cloud's `env` file.
    pub fn variable(&self, name: &str) -> &str {
        self.environment.get(name).map_or("", String::as_str)
    }

    /// All variables of the cloud's `env` file.
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// Where the EC2 and REST listener is, as `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Where a simulated cloud's agents find it, as `127.0.0.1:PORT`.
    pub fn agents_address(&self) -> String {
        format!("127.0.0.1:{}", self.port() + 1)
    }

    /// The same cloud as another user: another access key and token.
    #[must_use]
    pub fn variables_of(&self, access_key: &str, secret: &str) -> BTreeMap<String, String> {
        let mut environment = self.environment.clone();
        environment.insert("AWS_ACCESS_KEY_ID".into(), access_key.into());
        environment.insert("AWS_SECRET_ACCESS_KEY".into(), secret.into());
        environment.insert("TEPUI_TOKEN".into(), format!("{access_key}.{secret}"));
        environment
    }

    /// Makes a project with a normal user's access key, as variables for the clients.
    #[track_caller]
    pub fn make_project(&self, name: &str) -> BTreeMap<String, String> {
        self.tepui(&["project", "create", name]).ok();
        self.tepui(&["user", "create", name]).ok();
        let key = self.tepui_json(&["key", "create", "--user", name, "--project", name]);
        self.variables_of(&text(&key["access_key"]["id"]), &text(&key["secret_access_key"]))
    }

    /// Runs `tepui` against this cloud.
    pub fn tepui(&self, arguments: &[&str]) -> Output {
        self.tepui_as(&self.environment, arguments)
    }

    /// Runs `tepui` with other credentials.
    pub fn tepui_as(&self, environment: &BTreeMap<String, String>, arguments: &[&str]) -> Output {
        let data = self.folder.path().join("data");
        finish(Command::new(binary("tepui")).args(arguments).envs(environment).env("XDG_DATA_HOME", data))
    }

    /// `tepui … --json`, parsed.
    #[track_caller]
    pub fn tepui_json(&self, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        parse(&self.tepui(&arguments).ok())
    }

    /// Runs `aws ec2 …` against this cloud and parses its answer.
    #[track_caller]
    pub fn ec2(&self, arguments: &[&str]) -> Value {
        parse(&self.aws(&self.environment, "ec2", arguments).ok())
    }

    /// Runs `aws ec2 …` with other credentials.
    #[track_caller]
    pub fn ec2_as(&self, environment: &BTreeMap<String, String>, arguments: &[&str]) -> Value {
        parse(&self.aws(environment, "ec2", arguments).ok())
    }

    /// Waits by one of the AWS CLI's waiters, for example `volume-available`, for what the option names.
    #[track_caller]
    pub fn ec2_wait(&self, waiter: &str, option: &str, ids: &[String]) {
        assert!(!ids.is_empty(), "{waiter}");
        let mut arguments = vec!["wait", waiter, option];
        arguments.extend(ids.iter().map(String::as_str));
        self.aws(&self.environment, "ec2", &arguments).ok();
    }

    /// What `aws ec2 …` says when it is refused.
    #[track_caller]
    pub fn ec2_refused(&self, arguments: &[&str]) -> String {
        self.aws(&self.environment, "ec2", arguments).refused()
    }

    /// Runs `aws SERVICE …`.
    pub fn aws(&self, environment: &BTreeMap<String, String>, service: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(python("aws"));
        command.args(["--output", "json", service]).args(arguments).envs(environment).env("AWS_PAGER", "");
        command.env("AWS_MAX_ATTEMPTS", "1").env("HOME", self.folder.path());
        finish(&mut command)
    }

    /// Runs a Python script that uses boto3.
    pub fn python(&self, script: &Path, arguments: &[&str]) -> Output {
        finish(Command::new(python("python")).arg(script).args(arguments).envs(&self.environment))
    }

    /// Runs any program with the cloud's environment.
    pub fn with_environment(&self, command: &mut Command) -> Output {
        finish(command.envs(&self.environment))
    }

    /// Imports a guest image from `target/images` under its own name.
    #[track_caller]
    pub fn import(&self, name: &str, login_user: &str) {
        let path = crate::image(name);
        let path = path.to_string_lossy();
        self.tepui(&["image", "import", &path, "--name", name, "--login-user", login_user, "--public"]).ok();
    }

    /// The id of an image by its name.
    #[track_caller]
    pub fn image_id(&self, name: &str) -> String {
        let filter = format!("Name=name,Values={name}");
        let images = self.ec2(&["describe-images", "--filters", &filter]);
        text(&images["Images"][0]["ImageId"])
    }

    /// One instance as DescribeInstances shows it.
    #[track_caller]
    pub fn instance(&self, id: &str) -> Value {
        self.ec2(&["describe-instances", "--instance-ids", id])["Reservations"][0]["Instances"][0].clone()
    }

    /// Waits until an instance is in a state.
    #[track_caller]
    pub fn wait_state(&self, id: &str, state: &str, seconds: u64) -> Value {
        until(&format!("{id} is {state}"), seconds, || {
            let instance = self.instance(id);
            (instance["State"]["Name"] == state).then_some(instance)
        })
    }

    /// Waits until the serial console of a tiny guest holds these words, and returns it all.
    #[track_caller]
    pub fn wait_console(&self, id: &str, words: &str, seconds: u64) -> String {
        self.wait_console_as(&self.environment, id, words, seconds)
    }

    /// The same with other credentials.
    #[track_caller]
    pub fn wait_console_as(
        &self,
        environment: &BTreeMap<String, String>,
        id: &str,
        words: &str,
        seconds: u64,
    ) -> String {
        let what = format!("the console of {id} says '{words}'");
        self.wait_boot(environment, (id, Boot::that_says(words)), (&what, seconds), |console| {
            console.contains(words)
        })
    }

    /// Reboots a tiny guest that is ready, and waits until it is again.
    #[track_caller]
    pub fn reboot(&self, id: &str, seconds: u64) {
        let readiness = |console: &str| console.matches("tepui-tiny: ready").count();
        let before = self.console(&self.environment, id);
        self.ec2(&["reboot-instances", "--instance-ids", id]);
        let (boot, what) = (Boot::after(&before), format!("{id} boots again"));
        let is_ready = |console: &str| readiness(console) > readiness(&before);
        self.wait_boot(&self.environment, (id, boot), (&what, seconds), is_ready);
    }

    #[track_caller]
    fn wait_boot(
        &self,
        environment: &BTreeMap<String, String>,
        (id, mut boot): (&str, Boot),
        (what, seconds): (&str, u64),
        is_done: impl Fn(&str) -> bool,
    ) -> String {
        let folder = self.cloud_folder();
        let mut emulators = Emulators::of(&folder);
        until(what, seconds, || {
            if emulators.broke(&folder) {
                eprintln!("QEMU broke by an assertion of its own; {id} is started once");
                let describe = ["describe-instances", "--instance-ids", id];
                let stopped = || {
                    text(
                        &self.ec2_as(environment, &describe)["Reservations"][0]["Instances"][0]["State"]["Name"],
                    )
                };
                until(&format!("{id} is stopped"), 60, || (stopped() == "stopped").then_some(()));
                self.aws(environment, "ec2", &["start-instances", "--instance-ids", id]).ok();
            }
            let console = self.console(environment, id);
            if boot.hangs(id, &console) {
                self.aws(environment, "ec2", &["reboot-instances", "--instance-ids", id]).ok();
            }
            is_done(&console).then_some(console)
        })
    }

    /// What the serial console of a guest says now.
    pub fn console(&self, environment: &BTreeMap<String, String>, id: &str) -> String {
        let arguments = ["get-console-output", "--instance-id", id, "--latest"];
        text(&self.ec2_as(environment, &arguments)["Output"])
    }

    /// Every invariant holds: of the rows among themselves and against what the hosts report, and on each real
    /// host of the ledger against domains, processes, disk files and network.
    ///
    /// # Panics
    /// With what the doctors found.
    #[track_caller]
    pub fn assert_healthy(&self) {
        let mut last = Vec::new();
        until("no doctor finds anything", DOCTORS_SECONDS, || {
            last = self.findings();
            last.iter().for_each(|finding| eprintln!("{finding}"));
            last.is_empty().then_some(())
        });
    }

    /// As [`Self::assert_healthy`] where something is wrong that is meant to be: each finding says this of what it found,
    /// and there is one.
    ///
    /// # Panics
    /// With what the doctors found.
    #[track_caller]
    pub fn assert_finds_only(&self, what: &str) {
        let mut last = Vec::new();
        until("the doctors find nothing else", DOCTORS_SECONDS, || {
            last = self.findings();
            last.iter().for_each(|finding| eprintln!("{finding}"));
            let is_finding = |line: &&str| line.starts_with("FAIL") || line.starts_with("WARN");
            let mut found = last.iter().flat_map(|said| said.lines()).filter(is_finding).peekable();
            (found.peek().is_some() && found.all(|line| line.contains(what))).then_some(())
        });
    }

    fn findings(&self) -> Vec<String> {
        let cloud = self.tepui(&["doctor", "--problems"]);
        let agents = agents(&self.cloud_folder());
        if self.hypervisor == Hypervisor::Libvirt && agents.len() < self.nodes {
            return vec![format!("{} of {} agents run", agents.len(), self.nodes)];
        }
        let hosts = agents.into_iter().map(|(pid, config)| node_doctor(&pid, &config));
        let said = std::iter::once(cloud)
            .chain(hosts)
            .filter(|output| output.code != Some(0) || !output.stdout.is_empty());
        said.map(|output| format!("{}\n{}{}", output.command, output.stdout, output.stderr)).collect()
    }

    fn port(&self) -> u16 {
        let url = self.variable("AWS_ENDPOINT_URL");
        url.rsplit(':').next().and_then(|port| port.trim_end_matches('/').parse().ok()).unwrap_or(0)
    }

    fn dev_down(&self) -> Output {
        finish(Command::new(binary("tepui")).args(["dev", "down", "--dir"]).arg(self.cloud_folder()))
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if std::thread::panicking() {
            self.keep_evidence();
        }
        let output = self.dev_down();
        if output.code != Some(0) {
            eprintln!("{} failed\n{}", output.command, output.stderr);
        }
    }
}

/// The agents of real hosts: process id and configuration file.
fn agents(folder: &Path) -> Vec<(String, String)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    pids.filter_map(|pid| {
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let config = command.split('\0').find(|word| word.ends_with("/node.toml"))?.to_owned();
        Path::new(&config).starts_with(folder).then_some((pid, config))
    })
    .collect()
}

/// A host's own doctor, run where the host's files and network are.
fn node_doctor(pid: &str, config: &str) -> Output {
    let program = binary("tepui-node");
    let mut command = Command::new("nsenter");
    command.args(["-t", pid, "-n", "-m", "-u", "--"]).arg(program).args([
        "--config",
        config,
        "doctor",
        "--problems",
    ]);
    finish(&mut command)
}

/// A port nobody listens on now, nor on those that a dev cloud takes beside it. It is below those that
/// the kernel gives to clients: while a daemon is down, whoever tries to reach it would sooner or later
/// be given its port, connect to itself, and keep the daemon from coming back.
pub fn free_port() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    // Clouds of one process, and of others at the same time, begin to look at different places.
    static CLOUDS: AtomicU32 = AtomicU32::new(0);
    let place = std::process::id().wrapping_add(CLOUDS.fetch_add(50, Ordering::Relaxed)) % 5_000;
    let begin = u16::try_from(place).unwrap_or_default() * 2;
    (0..5_000)
        .map(|step| 20_000 + (begin + step * 2) % 10_000)
        .find(|port| [0, 1, 1_000].iter().all(|offset| is_free(port + offset)))
        .unwrap_or_default()
}

/// Reads `export NAME='value'` lines.
fn read_environment(path: &Path) -> BTreeMap<String, String> {
    let script = format!("set -a; . '{}'; env -0", path.display());
    let output = Command::new("env").args(["-i", "sh", "-c", &script]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.split('\0')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| name.starts_with("AWS_") || name.starts_with("TEPUI_"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[track_caller]
fn parse(json: &str) -> Value {
    if json.is_empty() {
        return Value::Null;
    }
    match serde_json::from_str(json) {
        Ok(value) => value,
        Err(error) => unreachable!("not JSON ({error}): {json}"),
    }
}

/// A JSON string's text; empty for anything else.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
