//! A storage host of its own with a real tgtd, and initiators that come to it.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tepui_storage::iscsi::{Settings, Tgt};
use tepui_storage::{Access, Backend as _, Credential, Export, Pool, Source};
use tepui_types::ExportId;
use tokio::runtime::Runtime;

use super::client::Opener;
use super::{BYTES, MIB, XFS, on, pool, volume};

/// Longer than anything takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Lab {
    pub(crate) tgt: Tgt,
    pub(crate) settings: Settings,
    pub(crate) pool: Pool,
    pub(crate) path: PathBuf,
    runtime: Runtime,
    /// Ends tgtd also when the test's process is killed.
    guards: Vec<Child>,
}

/// Runs a test on a host whose tgtd is not started.
pub(crate) fn lab(test: impl FnOnce(&mut Lab) + Send + 'static) {
    on(XFS, BYTES, move |path| {
        let pool_path = path.join("pool");
        fs::create_dir(&pool_path).unwrap();
        let mut lab = Lab::at(path, free_port(), pool(&pool_path));
        test(&mut lab);
    });
}

pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap()
}

impl Lab {
    pub(crate) fn at(path: &Path, portal: SocketAddr, pool: Pool) -> Self {
        let mut settings = Settings::new(path.join("run"), portal);
        // Longer than a busy machine needs to fill the buffers of a connection.
        (settings.ping_seconds, settings.lost_pings) = (3, 2);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let tgt = Tgt::new(settings.clone());
        Self { tgt, settings, pool, path: path.to_owned(), runtime, guards: vec![] }
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Makes tgtd run with all exports.
    pub(crate) fn recover(&mut self, exports: &[&Export]) {
        let exports: Vec<Export> = exports.iter().map(|one| (*one).clone()).collect();
        let failed = self.run(self.tgt.recover(&exports)).unwrap();
        assert!(failed.is_empty(), "{failed:?}");
        self.guard();
    }

    pub(crate) fn guard(&mut self) {
        self.guards.push(guard(self.process()));
    }

    /// The process tgtd, by its command line.
    pub(crate) fn process(&self) -> i32 {
        self.find().expect("tgtd runs")
    }

    pub(crate) fn find(&self) -> Option<i32> {
        tgtd(&self.settings)
    }

    pub(crate) fn export(&self, number: u128, access: Access) -> Export {
        let volume = volume(1);
        let path = self.pool.create_volume(volume, 64 * MIB).unwrap().path;
        export(path, number, access)
    }

    pub(crate) fn ensure(&self, export: &Export) -> Source {
        self.run(self.tgt.ensure(export)).unwrap()
    }

    /// Where an export is or would be.
    pub(crate) fn source_of(&self, export: &Export) -> Source {
        self.tgt.source(export.id)
    }

    /// An initiator with the export's credential.
    pub(crate) fn initiator(&self, export: &Export, source: &Source) -> Initiator {
        let Source::Iscsi { portal, target, account, initiator, .. } = source.clone() else { unreachable!() };
        let id = format!("{}-{portal}", export.id);
        let secret = self.path.join(format!("secret-{id}"));
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&secret).unwrap();
        file.write_all(secret_of(export.id).as_bytes()).unwrap();
        Initiator { portal, target, account: Some(account), initiator, secret }
    }

    pub(crate) fn content(&self, offset: u64, bytes: usize) -> Vec<u8> {
        let path = self.pool.volume(volume(1)).unwrap().unwrap().path;
        let mut content = vec![0; bytes];
        fs::File::open(path).unwrap().read_exact_at(&mut content, offset).unwrap();
        content
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.runtime.block_on(self.tgt.end()).unwrap();
        for guard in &mut self.guards {
            // It does its work once its input ends.
            let _ = guard.wait();
        }
    }
}

/// The process tgtd with these settings, if it runs.
pub(crate) fn tgtd(settings: &Settings) -> Option<i32> {
    let own = format!("TGT_IPC_SOCKET={}", settings.run_dir.join("tgt").display());
    processes().find(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim_end() == "tgtd" && String::from_utf8_lossy(&environment).split('\0').any(|one| one == own)
    })
}

/// Ends a process also when the test's process is killed.
pub(crate) fn guard(pid: i32) -> Child {
    let mut end = Command::new("sh");
    end.args(["-c", "read _; kill -9 $0"]).arg(pid.to_string());
    end.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

pub(crate) fn processes() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

pub(crate) fn export(path: PathBuf, number: u128, access: Access) -> Export {
    let id = ExportId::from_random(number);
    let credential = Credential { secret: secret_of(id).into(), address: IpAddr::V4(Ipv4Addr::LOCALHOST) };
    Export { id, volume: volume(1), path, access, credential }
}

/// No two exports have one.
pub(crate) fn secret_of(id: ExportId) -> String {
    format!("Secret{:x}0123456789", id.bits())
}

/// What QEMU is told to open a target.
#[derive(Clone)]
pub(crate) struct Initiator {
    pub(crate) portal: SocketAddr,
    pub(crate) target: String,
    pub(crate) account: Option<String>,
    pub(crate) initiator: String,
    pub(crate) secret: PathBuf,
}

impl Opener for Initiator {
    fn qemu_io(&self) -> Command {
        let Self { portal, target, account, initiator, secret } = self;
        let mut options = format!(
            "driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={portal},file.target={target},file.lun=1,\
             file.initiator-name={initiator}"
        );
        // It would wait for its target for ever, also without the test.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-io", "-t", "writeback"]);
        if let Some(account) = account {
            options += &format!(",file.user={account},file.password-secret=s");
            command.arg("--object").arg(format!("secret,id=s,file={}", secret.display()));
        }
        command.arg("--image-opts").arg(options);
        command
    }
}
