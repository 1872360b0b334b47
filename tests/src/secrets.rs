//! The passwords that open volumes over iSCSI: what they are, and that nobody can read them who need not.

use std::process::Stdio;

use serde_json::Value;
use tepui_core::Keyring;

use crate::process::{Output, feed, finish};
use crate::{Cloud, Host, python, run};

/// Tells the key file of a control plane, and of each attachment its export, volume, wrapped password and source.
const READ: &str = "
import json, sqlite3, sys
key = bytes.fromhex(open(sys.argv[1] + '/secrets.key').read())
rows = sqlite3.connect(f'file:{sys.argv[1]}/db.sqlite3?mode=ro', uri=True).execute(
    'SELECT export_id, volume_id, wrapped_secret, source FROM attachment')
tell = lambda row: (row[0].hex()[1:], row[1].hex()[1:], list(row[2]), json.loads(row[3] or 'null'))
print(json.dumps((list(key), [tell(row) for row in rows])))
";

/// Looks for the lines of a file: on all command lines, in all environments, in what libvirt keeps and tells, and below
/// other folders, but not in pools, which have what guests write.
const SEARCH: &str = "
lines=$1; shift
grep -laF -f $lines /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null
for folder in etc run var/lib var/log var/cache; do set -- \"$@\" /$folder/libvirt; done
grep -rlaF -D skip --exclude-dir=pool -f $lines \"$@\" 2>/dev/null
for domain in $(virsh -c qemu:///system list --name); do
  virsh -c qemu:///system dumpxml --security-info $domain | grep -qaF -f $lines && echo \"XML of $domain\"
done
for secret in $(virsh -q -c qemu:///system secret-list | awk '{ print $1 }'); do
  virsh -c qemu:///system secret-get-value $secret >/dev/null 2>&1 && echo \"value of $secret\"
done
";

/// What one attachment is served by.
#[derive(Debug)]
pub struct Export {
    id: String,
    /// The volume's id.
    pub volume: String,
    /// The password of its account.
    pub secret: String,
    /// Where it is served, as the hosts are told.
    pub source: Value,
}

impl Cloud {
    /// The exports of all attachments, from the control plane's database and with its key.
    ///
    /// # Panics
    /// When they cannot be read.
    #[track_caller]
    pub fn exports(&self) -> Vec<Export> {
        let folder = self.cloud_folder().join("api").display().to_string();
        let told = run(python("python"), &["-c", READ, &folder]).ok();
        type Row = (String, String, Vec<u8>, Value);
        let read: Result<([u8; 32], Vec<Row>), _> = serde_json::from_str(&told);
        let Ok((key, rows)) = read else { unreachable!("{told}: {read:?}") };
        let keyring = Keyring::new(&key);
        let export = |(id, volume, wrapped, source): Row| {
            let id = format!("export-{id}");
            let opened = keyring.unwrap(&id, &wrapped).map(String::from_utf8);
            let Ok(Ok(secret)) = opened else { unreachable!("{id}: {opened:?}") };
            Export { id, volume: format!("vol-{volume}"), secret, source }
        };
        rows.into_iter().map(export).collect()
    }
}

impl Export {
    /// Whether a password opens it.
    pub fn is_iscsi(&self) -> bool {
        self.source["protocol"] == "iscsi"
    }

    /// What the stock tool for the backend says on a host: what unit it finds with a password, or the size of what it reads
    /// of the file, which is 4 KiB.
    pub fn ask(&self, host: &Host, password: &str) -> Output {
        let word = |name: &str| self.source[name].as_str().unwrap_or_default();
        if self.is_iscsi() {
            let mut command = host.command("iscsi-inq");
            command.env("LIBISCSI_CHAP_USERNAME", &self.id).env("LIBISCSI_CHAP_PASSWORD", password);
            command.args(["-i", &format!("iqn.2026-11.cloud.tepui.host:{}", self.id)]);
            let unit = format!("iscsi://{}/{}/{}", word("portal"), word("target"), self.source["lun"]);
            return finish(command.args(["-e", "1", "-c", "128", &unit]));
        }
        let user = format!("uid={}&gid={}", self.source["uid"], self.source["gid"]);
        let file = format!("nfs://{}{}?{user}", word("server"), word("path"));
        host.run("sh", &["-c", "nfs-cat \"$1\" | head -c 4096 | wc -c", "read", &file])
    }
}

impl Host {
    /// Shows that nobody on the host reads this text on a command line, in an environment, in a log, in what libvirt
    /// keeps or tells, or in what the cloud's daemons keep; nor encoded as libvirt and QEMU encode passwords.
    ///
    /// # Panics
    /// With where it can be read; also when it is put there and not found.
    #[track_caller]
    pub fn assert_unreadable(&self, cloud: &Cloud, secret: &str) {
        let encoded = feed("base64", &["--wrap=0"], secret).ok();
        let lines = cloud.scratch().join("secret");
        let log = self.log_folder().join("planted");
        let mut command = self.command("sleep");
        let planted = std::fs::write(&lines, format!("{secret}\n{encoded}\n"))
            .and_then(|()| std::fs::write(&log, format!("told of {encoded}\n")))
            .and_then(|()| command.arg("60").env("PLANTED", secret).stdin(Stdio::null()).spawn());
        let Ok(mut process) = planted else { unreachable!("{planted:?}") };
        let lines = lines.display().to_string();
        let found = self.places_of(cloud, &lines);
        let environment = format!("/proc/{}/environ", process.id());
        let _ = (process.kill(), process.wait(), std::fs::remove_file(log));
        for place in [environment.as_str(), "/var/log/libvirt/planted"] {
            assert!(found.iter().any(|found| found == place), "not found in {place}: {found:?}");
        }
        assert_eq!(self.places_of(cloud, &lines), [""; 0], "on {}", self.name());
    }

    fn places_of(&self, cloud: &Cloud, lines: &str) -> Vec<String> {
        let folders = [cloud.cloud_folder(), self.run_dir()].map(|folder| folder.display().to_string());
        let [kept, passing] = &folders;
        let told = self.run("sh", &["-c", SEARCH, "search", lines, kept, passing]).stdout;
        told.lines().map(str::to_owned).collect()
    }
}
