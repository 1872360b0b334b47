//! A filer: an NFS server that is not the cloud's, though it runs on one of its hosts, and knows nothing of volumes.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use crate::volumes::file_system;
use crate::{Cloud, Host, Pool};

/// A stock ganesha with a configuration of its operator's. It ends with this, and with the test's process.
#[derive(Debug)]
pub struct Filer {
    processes: [Child; 2],
}

impl Cloud {
    /// Makes a pool named `filer`, of that class, on a host that also is the filer: it has the served folder itself, where
    /// others would have it mounted, as the kernel of a test machine may have no NFS client.
    ///
    /// # Panics
    /// When it cannot be used within two minutes.
    #[track_caller]
    pub fn make_filer_pool(&self, host: &Host) -> (Pool, Filer) {
        let image = file_system(self, host);
        let served = host.run_dir().join("pool");
        let nodes = self.tepui_json(&["node", "list"]);
        let node = nodes.as_array().into_iter().flatten().find(|node| node["name"] == host.name());
        let Some(address) = node.and_then(|node| node["underlay_address"].as_str()) else {
            unreachable!("no address of {} in {nodes}", host.name())
        };
        let filer = Filer::start(&self.scratch().join("filer"), host, &served);
        let pool = self.filer_pool(host, image, address);
        (pool, filer)
    }
}

impl Filer {
    #[track_caller]
    fn start(folder: &Path, host: &Host, served: &Path) -> Self {
        let [conf, log, pid] = ["conf", "log", "pid"].map(|name| folder.join(name).display().to_string());
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&conf, config(served, folder)));
        assert!(written.is_ok(), "{conf}: {written:?}");
        let ganesha = ["ganesha.nfsd", "-F", "-f", &conf, "-L", &log, "-p", &pid];
        let processes = [&["rpcbind", "-f", "-w"][..], &ganesha].map(|words| {
            let mut command = host.command("setpriv");
            command.args(["--pdeathsig", "KILL"]).args(words);
            let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            let Ok(child) = started else { unreachable!("{words:?}: {started:?}") };
            child
        });
        Self { processes }
    }
}

/// Every host is let in, and root of none is root here. What the pool's host does beside the server is seen at once
/// (`Attr_Expiration_Time`, `Dir_Chunk`), as if it came to it over NFS.
fn config(served: &Path, folder: &Path) -> String {
    format!(
        "LOG {{ Default_Log_Level = WARN; }}\n\
         NFS_CORE_PARAM {{ Protocols = 3; MNT_Port = 20048; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; }}\n\
         NFSV4 {{ Graceless = true; RecoveryRoot = \"{folder}\"; }}\n\
         MDCACHE {{ Dir_Chunk = 0; }}\n\
         EXPORT {{ Export_Id = 1; Path = \"{served}\"; Pseudo = /volumes; Protocols = 3; Transports = TCP; Access_Type = RW;\n  \
         Squash = Root_Squash; SecType = sys; Attr_Expiration_Time = 0; FSAL {{ Name = VFS; }} }}\n",
        served = served.display(),
        folder = folder.display(),
    )
}

impl Drop for Filer {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = (process.kill(), process.wait());
        }
    }
}
