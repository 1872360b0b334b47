//! A control plane in a process of its own, whose clock, disk or system calls can be made to fail.

use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tepui_client::Client;

/// A folder with everything of one control plane, and the process while it runs.
pub(crate) struct Process {
    pub(crate) folder: TempDir,
    data: PathBuf,
    first: Value,
    child: Option<Child>,
    /// EC2 and REST.
    pub(crate) public: SocketAddr,
    /// Agents.
    pub(crate) agents: SocketAddr,
}

/// How the process is started.
#[derive(Default)]
pub(crate) struct How<'a> {
    /// A program and its arguments that run it.
    pub(crate) under: &'a [&'a str],
    /// More variables of its environment.
    pub(crate) with: &'a [(&'a str, &'a str)],
}

impl Process {
    /// A new control plane that runs.
    pub(crate) async fn start() -> Self {
        let mut process = Self::new();
        process.run(How::default()).await;
        process
    }

    /// One that was made and does not run.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        Self::made(folder, data)
    }

    /// One whose data are in this folder.
    pub(crate) fn in_folder(data: PathBuf) -> Self {
        Self::made(tempfile::tempdir().unwrap(), data)
    }

    fn made(folder: TempDir, data: PathBuf) -> Self {
        // For the plain HTTP clients of tests.
        let _ = rustls::crypto::ring::default_provider().install_default();
        fs::write(folder.path().join("api.toml"), super::config_text(&data)).unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = Value::Null;
        let mut made = Self { folder, data, first, child: None, public: nowhere, agents: nowhere };
        let output = made.command(&["init"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        made.first = serde_json::from_slice(&output.stdout).unwrap();
        made
    }

    /// Starts the process; it answers when this returns.
    pub(crate) async fn run(&mut self, how: How<'_>) {
        assert!(self.try_run(how).await, "it ended\n{}", self.said());
    }

    /// Starts the process; whether it answers, or has ended instead.
    pub(crate) async fn try_run(&mut self, how: How<'_>) -> bool {
        self.spawn(how);
        for _ in 0..3000 {
            if let Some(told) = self.addresses() {
                (self.public, self.agents) = told;
                return true;
            }
            if self.child.as_mut().unwrap().try_wait().unwrap().is_some() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it neither answers nor ends\n{}", self.said());
    }

    /// Starts the process, which may end before it answers.
    pub(crate) fn spawn(&mut self, how: How<'_>) {
        let mut words: Vec<&str> = how.under.to_vec();
        words.push(env!("CARGO_BIN_EXE_tepui-api"));
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("--config").arg(self.folder.path().join("api.toml"));
        command.envs(how.with.iter().copied()).env("NO_COLOR", "1").stderr(File::create(self.log()).unwrap());
        self.child = Some(command.spawn().unwrap());
    }

    /// Runs `tepui-api` with this command to its end.
    pub(crate) fn command(&self, words: &[&str]) -> Output {
        self.command_with(words, &[])
    }

    /// The same, with these variables.
    pub(crate) fn command_with(&self, words: &[&str], with: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tepui-api"));
        command
            .arg("--config")
            .arg(self.folder.path().join("api.toml"))
            .args(words)
            .envs(with.iter().copied());
        command.output().unwrap()
    }

    /// What the process has said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        let said = self.said();
        let line = said.lines().find(|line| line.contains("the control plane answers"))?;
        let after = |name: &str| line.split(name).nth(1)?.split(' ').next()?.parse().ok();
        Some((after("public=")?, after("agents=")?))
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.data.join("db.sqlite3")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The administrator's.
    pub(crate) fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.public), self.word("token"), None).unwrap()
    }

    /// A value that `init` printed.
    pub(crate) fn word(&self, name: &str) -> &str {
        self.first[name].as_str().unwrap()
    }

    /// Status and body of an EC2 call, signed by curl.
    pub(crate) fn ec2(&self, form: &str) -> (u16, String) {
        let user = format!("{}:{}", self.word("access_key_id"), self.word("secret_access_key"));
        let url = format!("http://{}/", self.public);
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--aws-sigv4", "aws:amz:tepui-1:ec2", "--user", &user])
            .args(["--data", form, "--write-out", "\n%{http_code}", &url])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    /// Waits until the process has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let waiting = tokio::task::spawn_blocking(move || child.wait());
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it ends").unwrap().unwrap()
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.said());
        }
        self.kill();
    }
}

/// A database while another process has it locked.
pub(crate) struct Locked(Child);

impl Locked {
    pub(crate) fn by_another_process(process: &Process) -> Self {
        const SCRIPT: &str = "import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute('BEGIN EXCLUSIVE')
print('locked', flush=True)
sys.stdin.read()";
        let mut command = Command::new("python3");
        command.args(["-c", SCRIPT]).arg(process.database()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        Self(child)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A small file system at a folder; taken away when dropped.
pub(crate) struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    pub(crate) fn mount(folder: &'a Path, size: &str) -> Self {
        fs::create_dir_all(folder).unwrap();
        let size = format!("size={size}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).status();
        assert!(mount.unwrap().success(), "a small file system needs root");
        Self(folder)
    }

    /// Leaves nothing.
    pub(crate) fn fill(&self) {
        let free = nix::sys::statvfs::statvfs(self.0).unwrap();
        let room = free.blocks_available() * free.fragment_size();
        // The control plane may take some of it meanwhile; what is written of a file that fails stays.
        let _ = fs::write(self.0.join("filler"), vec![1; usize::try_from(room).unwrap()]);
    }

    pub(crate) fn empty(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}
