//! A libvirtd of the test's own, in namespaces of its own, and a guest for it.

mod guest;
mod iscsi;
mod process;
mod slow;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tepui_libvirt::{DomainState, Error, LibvirtHost, domain_name};
use tepui_types::PlacementId;

pub(crate) use guest::{Guest, raw_image};
pub(crate) use iscsi::Target;
pub(crate) use process::{signal, wait_gone};
pub(crate) use slow::SlowWay;

/// For everything that only has to happen at last; emulated guests on a busy machine are slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const LIBVIRTD_CONF: &str = r#"
unix_sock_group = "root"
auth_unix_rw = "none"
auth_unix_ro = "none"
"#;
const QEMU_CONF: &str = r#"
stdio_handler = "file"
security_driver = "none"
namespaces = []
cgroup_controllers = []
"#;

/// Runs in the new namespaces and holds them until it is killed. A tmpfs over /run keeps the
/// machine's own libvirtd, if there is one, out of sight.
const HOLD_NAMESPACES: &str = r#"
hostname "$2"
mount -t tmpfs tmpfs /run
for part in run:/run/libvirt etc:/etc/libvirt lib:/var/lib/libvirt cache:/var/cache/libvirt log:/var/log/libvirt; do
  mkdir -p "${part#*:}"
  mount --bind "$1/${part%%:*}" "${part#*:}"
done
ip link set lo up
touch "$1/ready"
exec sleep infinity
"#;

/// Ends all it started when it is dropped, also by a panic.
pub(crate) struct PrivateHost {
    dir: TempDir,
    holder: Child,
    libvirtd: Option<Child>,
}

impl PrivateHost {
    pub(crate) fn start() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test starts a libvirtd in namespaces and needs root");
        for command in ["libvirtd", "qemu-system-x86_64", "unshare", "nsenter", "setpriv", "ip"] {
            let found =
                Command::new("sh").args(["-c", "command -v \"$1\" >/dev/null", "sh", command]).status();
            assert!(
                found.unwrap().success(),
                "'{command}' is missing: run packaging/install-packages.sh test"
            );
        }
        process::adopt_orphans();
        // QEMU's user must reach the disks. Socket paths have 107 bytes, so the path is short.
        let dir = tempfile::Builder::new().prefix("tlv").tempdir_in("/tmp").unwrap();
        make_readable(dir.path());
        for part in ["run", "etc", "lib", "cache", "log"] {
            fs::create_dir(dir.path().join(part)).unwrap();
        }
        fs::write(dir.path().join("etc/libvirtd.conf"), LIBVIRTD_CONF).unwrap();
        fs::write(dir.path().join("etc/qemu.conf"), QEMU_CONF).unwrap();
        let holder = hold_namespaces(dir.path());
        let mut host = Self { dir, holder, libvirtd: None };
        wait_for("the namespaces", || host.dir.path().join("ready").exists());
        host.start_libvirtd();
        host
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn uri(&self) -> String {
        uri(&self.socket())
    }

    pub(crate) async fn connect(&self, connections: usize, deadline: Duration) -> LibvirtHost {
        LibvirtHost::connect(&self.uri(), connections, deadline).await.unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.path().join("run/libvirt-sock")
    }

    /// A command in the host's namespaces that ends with this test.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter", "-m", "-n", "-u", "-t"]);
        command.arg(self.holder.id().to_string()).arg(program);
        command
    }

    /// Runs it to its end; what it said.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = process::output(self.command(program).args(arguments));
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program} {arguments:?}: {words}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn start_libvirtd(&mut self) {
        let log = fs::File::create(self.path().join("log/libvirtd.out")).unwrap();
        let mut command = self.command("libvirtd");
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.libvirtd = Some(process::spawn(&mut command));
        let socket = self.socket();
        wait_for("libvirtd", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    }

    pub(crate) fn kill_libvirtd(&mut self) {
        if let Some(mut libvirtd) = self.libvirtd.take() {
            process::end(&mut libvirtd);
        }
        let _ = fs::remove_file(self.socket());
    }

    pub(crate) fn signal_libvirtd(&self, what: Signal) {
        signal(self.libvirtd.as_ref().unwrap().id(), what);
    }

    pub(crate) fn qemu_pid(&self, id: PlacementId) -> u32 {
        let file = self.path().join("run/qemu").join(format!("{}.pid", domain_name(id)));
        fs::read_to_string(file).unwrap().trim().parse().unwrap()
    }
}

impl Drop for PrivateHost {
    fn drop(&mut self) {
        self.kill_libvirtd();
        for entry in fs::read_dir(self.path().join("run/qemu")).into_iter().flatten().flatten() {
            let Some(pid) = fs::read_to_string(entry.path()).ok().and_then(|text| text.trim().parse().ok())
            else {
                continue;
            };
            process::kill_if_runs(pid, "qemu-system");
        }
        process::end(&mut self.holder);
    }
}

fn uri(socket: &Path) -> String {
    format!("qemu+unix:///system?socket={}", socket.display())
}

fn hold_namespaces(dir: &Path) -> Child {
    let name = dir.file_name().unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "-m", "-n", "-u", "--propagation", "private"]);
    command.args(["sh", "-euc", HOLD_NAMESPACES, "hold"]).arg(dir).arg(name);
    process::spawn(&mut command)
}

fn make_readable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[track_caller]
pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Lists until the domain is in `state`; while libvirtd is away it goes on.
pub(crate) async fn wait_for_state(libvirt: &LibvirtHost, id: PlacementId, state: DomainState) {
    wait_for_any(libvirt, id, &format!("{state:?}"), |seen| seen == state).await;
}

pub(crate) async fn wait_for_any(
    libvirt: &LibvirtHost,
    id: PlacementId,
    what: &str,
    holds: impl Fn(DomainState) -> bool,
) {
    let start = Instant::now();
    loop {
        let seen = libvirt.domains().await;
        match &seen {
            Ok(domains) if domains.iter().any(|seen| seen.id == id && holds(seen.state)) => return,
            Ok(_) | Err(Error::Unavailable { .. } | Error::Deadline { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}, last seen {seen:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
