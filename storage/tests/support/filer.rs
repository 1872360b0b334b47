//! A filer: a stock ganesha with a configuration of its operator's, which serves one folder to the hosts and knows nothing
//! of volumes. The pool's host has that folder itself where others would have it mounted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tepui_storage::filer::{Filer, Settings};
use tepui_storage::{Access, Backend as _, Export, ExportError, Pool, Revoked};
use tokio::runtime::Runtime;

use super::lab::{PATIENCE, export};
use super::nfs::{NfsClient, OWN, host};
use super::{MIB, pool, volume};

/// The filer's processes, of which that with the files can be away.
pub(crate) struct Server {
    ganesha: Option<Child>,
    port_mapper: Child,
}

impl Server {
    /// Serves a folder, some time from now.
    pub(crate) fn start(path: &Path) -> Self {
        let port_mapper = until_killed("rpcbind", &["-f", "-w"]);
        let mut server = Self { ganesha: None, port_mapper };
        server.serve(path);
        server
    }

    pub(crate) fn serve(&mut self, path: &Path) {
        self.serve_with(path, "Root_Squash");
    }

    /// Serves a folder to users of whom these are taken for nobody.
    pub(crate) fn serve_with(&mut self, path: &Path, squash: &str) {
        let run = Path::new("/run/filer");
        fs::create_dir_all(run).unwrap();
        let [file, log, pid] = ["conf", "log", "pid"].map(|name| run.join(name).display().to_string());
        fs::write(&file, config(path, run, squash)).unwrap();
        self.ganesha = Some(until_killed("ganesha.nfsd", &["-F", "-f", &file, "-L", &log, "-p", &pid]));
    }

    pub(crate) fn end(&mut self) {
        if let Some(mut ganesha) = self.ganesha.take() {
            ganesha.kill().unwrap();
            ganesha.wait().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        let _ = (self.port_mapper.kill(), self.port_mapper.wait());
    }
}

pub(crate) struct FilerLab {
    pub(crate) filer: Filer,
    pub(crate) pool: Pool,
    pub(crate) path: PathBuf,
    pub(crate) server: Server,
    runtime: Runtime,
}

/// Runs a test on a host whose pool is on a filer.
pub(crate) fn filer_lab(test: impl FnOnce(&mut FilerLab) + Send + 'static) {
    host(move |path| {
        let folder = path.join("pool");
        fs::create_dir(&folder).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut lab = FilerLab {
            filer: Filer::new(settings(&folder)),
            pool: pool(&folder),
            path: path.to_owned(),
            server: Server::start(path),
            runtime,
        };
        lab.until_served();
        test(&mut lab);
    });
}

pub(crate) fn settings(pool: &Path) -> Settings {
    Settings { server: OWN, folder: pool.to_owned(), pool: pool.to_owned() }
}

/// As an operator sets one up: root of no host is root there, but the pool's, which does not come over the network here.
/// What is done beside the server is seen at once (`Attr_Expiration_Time`, `Dir_Chunk`).
fn config(path: &Path, run: &Path, squash: &str) -> String {
    format!(
        "LOG {{ Default_Log_Level = WARN; }}\n\
         NFS_CORE_PARAM {{ Protocols = 3; MNT_Port = 20048; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; }}\n\
         NFSV4 {{ Graceless = true; RecoveryRoot = \"{run}\"; }}\n\
         MDCACHE {{ Dir_Chunk = 0; }}\n\
         EXPORT {{ Export_Id = 1; Path = \"{path}\"; Pseudo = /volumes; Protocols = 3; Transports = TCP;\n  \
         Access_Type = None; Squash = {squash}; SecType = sys; Attr_Expiration_Time = 0; FSAL {{ Name = VFS; }}\n  \
         CLIENT {{ Clients = {OWN}; Access_Type = RW; Protocols = 3; }} }}\n",
        path = path.display(),
        run = run.display(),
    )
}

/// A process that ends with the test's.
fn until_killed(program: &str, words: &[&str]) -> Child {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]).args(words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

impl FilerLab {
    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// The filer comes back.
    pub(crate) fn serve(&mut self) {
        self.server.serve(&self.path);
        self.until_served();
    }

    /// The filer is away.
    pub(crate) fn end_server(&mut self) {
        self.server.end();
    }

    fn until_served(&self) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.run(self.filer.check()) {
            assert!(Instant::now() < deadline, "{error}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Another agent comes.
    pub(crate) fn replace_agent(&mut self) {
        self.filer = Filer::new(settings(&self.path.join("pool")));
    }

    pub(crate) fn export(&self, number: u128, access: Access) -> Export {
        let path = self.pool.create_volume(volume(1), 64 * MIB).unwrap().path;
        export(path, number, access)
    }

    pub(crate) fn ensure(&self, export: &Export) -> NfsClient {
        NfsClient::of(&self.run(self.filer.ensure(export)).unwrap())
    }

    pub(crate) fn refused(&self, export: &Export) -> ExportError {
        self.run(self.filer.ensure(export)).unwrap_err()
    }

    pub(crate) fn revoke(&self, export: &Export) -> Revoked {
        self.run(async {
            self.filer.take_over(export.id, export.path.clone()).await;
            self.filer.revoke(export.id, PATIENCE).await
        })
        .unwrap()
    }
}
