//! A storage host of its own with a real ganesha and rpcbind, and clients that come to it.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tepui_storage::nfs::{Ganesha, Settings};
use tepui_storage::{Access, Backend as _, Export, Pool, Revoked, Source};
use tokio::runtime::Runtime;

use super::client::Opener;
use super::lab::{PATIENCE, export, guard, processes};
use super::{BYTES, MIB, XFS, call, on, pool, volume};

/// The host's address, from which its clients come, too.
pub(crate) const OWN: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// Another host's.
pub(crate) const FOREIGN: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

/// Runs a test on a host with a network and a `/run` of its own.
pub(crate) fn host(test: impl FnOnce(&Path) + Send + 'static) {
    on(XFS, BYTES, move |path| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        call(Command::new("ip").args(["link", "set", "lo", "up"]));
        call(Command::new("ip").args(["address", "add", &format!("{OWN}/24"), "dev", "lo"]));
        let nothing: Option<&str> = None;
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), nothing).unwrap();
        let _end = EndOfRpcbind;
        test(path);
    });
}

pub(crate) fn settings() -> Settings {
    Settings { run_dir: "/run/tepui".into(), state_dir: "/run/kept".into(), address: OWN }
}

pub(crate) struct NfsLab {
    pub(crate) ganesha: Ganesha,
    pub(crate) settings: Settings,
    pub(crate) pool: Pool,
    pub(crate) path: PathBuf,
    runtime: Runtime,
    guards: Vec<Child>,
}

/// Runs a test on a host whose ganesha is not started.
pub(crate) fn nfs_lab(test: impl FnOnce(&mut NfsLab) + Send + 'static) {
    host(move |path| {
        let pool_path = path.join("pool");
        fs::create_dir(&pool_path).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut lab = NfsLab {
            ganesha: Ganesha::new(settings()),
            settings: settings(),
            pool: pool(&pool_path),
            path: path.to_owned(),
            runtime,
            guards: vec![],
        };
        test(&mut lab);
    });
}

impl NfsLab {
    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Another agent comes.
    pub(crate) fn replace_agent(&mut self) {
        self.ganesha = Ganesha::new(self.settings.clone());
    }

    /// Makes ganesha run with all exports.
    pub(crate) fn recover(&mut self, exports: &[&Export]) {
        let exports: Vec<Export> = exports.iter().map(|one| (*one).clone()).collect();
        let failed = self.run(self.ganesha.recover(&exports)).unwrap();
        assert!(failed.is_empty(), "{failed:?}");
        self.guard();
    }

    pub(crate) fn guard(&mut self) {
        self.guards.extend(guards("ganesha.nfsd"));
        self.guards.extend(guards("rpcbind"));
    }

    pub(crate) fn export(&self, number: u128, access: Access) -> Export {
        let path = self.pool.create_volume(volume(1), 64 * MIB).unwrap().path;
        let mut export = export(path, number, access);
        export.credential.address = OWN.into();
        export
    }

    pub(crate) fn ensure(&self, export: &Export) -> NfsClient {
        let source = self.run(self.ganesha.ensure(export)).unwrap();
        NfsClient::of(&source)
    }

    pub(crate) fn revoke(&self, export: &Export) -> Revoked {
        self.run(self.ganesha.revoke(export.id, PATIENCE)).unwrap()
    }

    pub(crate) fn content(&self, offset: u64, bytes: usize) -> Vec<u8> {
        let path = self.pool.volume(volume(1)).unwrap().unwrap().path;
        let mut content = vec![0; bytes];
        fs::File::open(path).unwrap().read_exact_at(&mut content, offset).unwrap();
        content
    }

    /// What a stock client is shown.
    pub(crate) fn shown(&self) -> String {
        call(Command::new("showmount").args(["--no-headers", "--exports", &OWN.to_string()]))
    }
}

impl Drop for NfsLab {
    fn drop(&mut self) {
        self.runtime.block_on(self.ganesha.end()).unwrap();
        for guard in &mut self.guards {
            // It does its work once its input ends.
            let _ = guard.wait();
        }
    }
}

/// Ganesha's backend ends ganesha alone.
struct EndOfRpcbind;

impl Drop for EndOfRpcbind {
    fn drop(&mut self) {
        for pid in here("rpcbind") {
            kill(pid);
        }
    }
}

pub(crate) fn kill(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}

/// The processes of a program on this host.
pub(crate) fn here(program: &str) -> Vec<i32> {
    let network = |of: &str| fs::read_link(format!("/proc/{of}/ns/net")).ok();
    let own = network("thread-self");
    let is_it = |pid: &i32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim_end() == program && network(&pid.to_string()) == own
    };
    processes().filter(is_it).collect()
}

/// End the processes of a program also when the test's process is killed.
fn guards(program: &str) -> Vec<Child> {
    here(program).into_iter().map(guard).collect()
}

/// What QEMU is told to open a file of an export.
#[derive(Clone)]
pub(crate) struct NfsClient {
    pub(crate) path: PathBuf,
    pub(crate) user: u32,
}

impl NfsClient {
    pub(crate) fn of(source: &Source) -> Self {
        let Source::Nfs { server: OWN, path, user, .. } = source.clone() else { unreachable!("{source:?}") };
        Self { path, user }
    }
}

impl Opener for NfsClient {
    fn qemu_io(&self) -> Command {
        let Self { path, user } = self;
        // It would wait for its server for ever, also without the test.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-io", "-t", "writeback", "--image-opts"]).arg(format!(
            "driver=raw,file.driver=nfs,file.server.type=inet,file.server.host={OWN},file.path={},\
             file.user={user},file.group={user}",
            path.display()
        ));
        command
    }
}
