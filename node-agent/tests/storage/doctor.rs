//! What a host's doctor says of what is really served, beside the agent.

use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use tepui_agent::doctor::{self, Site};
use tepui_agent::hypervisor::{SimulatedHypervisor, SimulatedSettings};
use tepui_agent::ledger::{Ledger, Seal};
use tepui_agent::network::SimulatedNetwork;
use tepui_types::agent::{NodePart, Part, PartBody, PartKey};
use tepui_types::{Epoch, Generation, NodeId};

use super::*;

/// The host's ledger, as its agent keeps it.
struct Books {
    dir: tempfile::TempDir,
    generation: u64,
}

impl Books {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("identity")).unwrap();
        Self { dir, generation: 0 }
    }

    fn write(&mut self, part: &StoragePart) {
        self.generation += 1;
        let (node, generation) = (NodeId::from_random(1), Generation(self.generation));
        let seal = Seal::open(&self.dir.path().join("identity/ledger.key")).unwrap();
        let mut ledger = Ledger::open(&self.dir.path().join("ledger"), seal).unwrap();
        let parts = vec![
            Part { key: PartKey::Node(node), generation, body: PartBody::Node(NodePart::default()) },
            Part { key: PartKey::Storage(node), generation, body: PartBody::Storage(part.clone()) },
        ];
        ledger.take(node, Epoch(1), parts).unwrap();
    }

    /// What the doctor says of the exports, a line each.
    fn said(&mut self, host: &Host) -> Vec<String> {
        // The control plane knows by now that they are there.
        let mut part = host.part.clone();
        for volume in &mut part.volumes {
            if let VolumePart::Present { made, .. } = &mut volume.wanted {
                *made = true;
            }
        }
        self.write(&part);
        let servers = PoolSettings { iscsi: host.settings.clone(), nfs: nfs::settings() };
        let site = Site {
            data_dir: self.dir.path(),
            underlay_address: Ipv4Addr::LOCALHOST,
            hypervisor: &SimulatedHypervisor::new(SimulatedSettings::default()),
            is_real: false,
            network: &SimulatedNetwork::new(),
            servers: Some(&servers),
            now: Timestamp::UNIX_EPOCH,
        };
        let found = host.runtime.block_on(doctor::examine(site)).unwrap();
        let told = doctor::lines(&doctor::report(&found, vec![]));
        assert!(!told.contains(SECRET), "{told}");
        let is_of_exports = |line: &&str| {
            !["ledger", "guests", "processes", "disks", "network", "volumes", "secrets"]
                .iter()
                .any(|other| line.starts_with(&format!("PASS  {other}:")))
        };
        told.lines().filter(is_of_exports).map(str::to_owned).collect()
    }

    /// It says one thing, of which this is a part.
    #[track_caller]
    fn says(&mut self, host: &Host, what: &str) {
        let said = self.said(host);
        let of = said.iter().filter(|line| !line.starts_with("      try: ")).collect::<Vec<_>>();
        assert!(of.len() == 1 && of[0].contains(what), "{what}: {said:#?}");
    }
}

fn tgtadm(host: &Host, words: &[&str]) {
    let mut tgtadm = Command::new("tgtadm");
    tgtadm.env("TGT_IPC_SOCKET", host.settings.run_dir.join("tgt"));
    support::call(tgtadm.args(["--lld", "iscsi"]).args(words));
}

/// tgtd's number of a target.
fn number(host: &Host, target: &str) -> String {
    let mut tgtadm = Command::new("tgtadm");
    tgtadm.env("TGT_IPC_SOCKET", host.settings.run_dir.join("tgt"));
    let shown = support::call(tgtadm.args(["--lld", "iscsi", "--mode", "target", "--op", "show"]));
    let line = shown.lines().find(|line| line.starts_with("Target ") && line.ends_with(target)).unwrap();
    line["Target ".len()..].split(':').next().unwrap().to_owned()
}

const FINE: &str = "PASS  exports: 1 are open as wanted";

#[test]
fn what_tgtd_serves_and_nobody_ordered_is_named_and_left_as_it_is() {
    host(|host, path| {
        let mut books = Books::new();
        host.want_volume(1, present(16));
        books.says(host, "PASS  exports: 0 are open as wanted");
        assert!(!host.settings.run_dir.join("tgt.0").exists(), "the doctor starts no server");
        host.want_export(1, open());
        books.says(host, "FAIL  tgtd: it does not run, and 1 exports of it should be open");
        assert!(!host.settings.run_dir.join("tgt.0").exists(), "the doctor starts no server");
        let seen = host.apply();
        books.says(host, FINE);

        // A target by hand, of a file of the pool, that anybody may open.
        let file = path.join(format!("pool/volumes/{}/disk.raw", volume(1)));
        let name = "iqn.2001-04.org.example:copy";
        tgtadm(host, &["--mode", "target", "--op", "new", "--tid", "7", "--targetname", name]);
        tgtadm(
            host,
            &[
                "--mode",
                "logicalunit",
                "--op",
                "new",
                "--tid",
                "7",
                "--lun",
                "1",
                "--backing-store",
                file.to_str().unwrap(),
            ],
        );
        tgtadm(host, &["--mode", "target", "--op", "bind", "--tid", "7", "--initiator-address", "ALL"]);
        let stranger = Initiator { target: name.into(), account: None, ..host.initiator(&seen, path) };
        let mut client = stranger.connect();
        client.perform("read 0 4k");
        let what = format!(
            "FAIL  {name}: tgtd serves it, and the control plane does not name it: {}, read-write; connected: {} at 127.0.0.1",
            file.display(),
            stranger.initiator
        );
        books.says(host, &what);
        drop(client);
        assert!(books.said(host)[1].contains("--mode target --op delete --force --tid"), "the cure");
        tgtadm(host, &["--mode", "target", "--op", "delete", "--force", "--tid", "7"]);
        books.says(host, FINE);

        tgtadm(host, &["--mode", "account", "--op", "new", "--user", "guest", "--password", SECRET]);
        books.says(host, "WARN  guest: tgtd has this account");
        let own = number(host, &seen.exports[0].id.to_string());
        tgtadm(host, &["--mode", "account", "--op", "bind", "--tid", &own, "--user", "guest"]);
        books.says(host, "it lets in the account guest");
        tgtadm(host, &["--mode", "account", "--op", "unbind", "--tid", &own, "--user", "guest"]);
        tgtadm(host, &["--mode", "account", "--op", "delete", "--user", "guest"]);
        tgtadm(host, &["--mode", "target", "--op", "bind", "--tid", &own, "--initiator-address", "ALL"]);
        books.says(host, "it lets in the initiator ALL");
        tgtadm(host, &["--mode", "target", "--op", "unbind", "--tid", &own, "--initiator-address", "ALL"]);
        books.says(host, FINE);

        let change = |params: &str| {
            let words = "--mode logicalunit --op update --lun 1 --tid";
            let words: Vec<_> = words.split(' ').chain([own.as_str(), "--params", params]).collect();
            tgtadm(host, &words);
        };
        change("readonly=1");
        books.says(host, "is open read-only, and should be read-write");
        change("readonly=0");
        let initiator = format!("iqn.2026-11.cloud.tepui.host:{}", seen.exports[0].id);
        tgtadm(host, &["--mode", "target", "--op", "unbind", "--tid", &own, "--initiator-name", &initiator]);
        books.says(host, "should be open, and tgtd lets nobody in by it");
        host.apply();
        books.says(host, FINE);
    });
}

#[test]
fn an_export_that_is_to_go_is_named_with_its_peer_also_where_no_agent_runs() {
    host(|host, path| {
        let mut books = Books::new();
        host.want_volume(1, present(16));
        host.want_export(1, open());
        let seen = host.apply();
        let initiator = host.initiator(&seen, path);
        let mut writer = initiator.connect();
        writer.perform("write -P 1 0 4k");
        books.says(host, FINE);
        host.want_export(1, ExportPart::Absent);
        let peer = format!("{} at 127.0.0.1", initiator.initiator);
        books.says(
            host,
            &format!(
                "WARN  {} of {}: is to go, and is still connected to: {peer}",
                seen.exports[0].id,
                volume(1)
            ),
        );
        drop(writer);
        host.until(|seen| seen.exports[0].state == ExportState::Gone);
        books.says(host, "PASS  exports: 0 are open as wanted");

        // Somebody removed the socket of a tgtd that runs.
        host.want_export(2, open());
        host.apply();
        let socket = host.settings.run_dir.join("tgt.0");
        let away = path.join("socket");
        std::fs::rename(&socket, &away).unwrap();
        books.says(host, "FAIL  tgtd: it cannot be ruled, and somebody serves at 127.0.0.1:");
        std::fs::rename(&away, &socket).unwrap();
        books.says(host, FINE);
    });
}

#[test]
fn what_ganesha_serves_and_nobody_ordered_is_named_and_left_as_it_is() {
    nfs_host(|host, path| {
        let mut books = Books::new();
        host.want_volume(1, present(16));
        let wanted = |read_only| ExportPart::Open { node_address: OWN, secret: SECRET.into(), read_only };
        host.want_export(1, wanted(true));
        books.says(host, "FAIL  ganesha: it does not run, and 1 exports of it should be open");
        assert!(nfs::here("ganesha.nfsd").is_empty(), "the doctor starts no server");
        let seen = host.apply();
        books.says(host, FINE);

        let config = nfs::settings().run_dir.join("ganesha.conf");
        let text = std::fs::read_to_string(&config).unwrap();
        let reread = |text: &str, heard: &str| {
            let log = nfs::settings().log();
            let before = std::fs::metadata(&log).unwrap().len() as usize;
            std::fs::write(&config, text).unwrap();
            let pid = nix::unistd::Pid::from_raw(nfs::here("ganesha.nfsd")[0]);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).unwrap();
            let deadline = std::time::Instant::now() + PATIENCE;
            while !std::fs::read_to_string(&log).unwrap()[before..].contains(heard) {
                assert!(std::time::Instant::now() < deadline, "{heard}");
            }
        };
        // An export by hand.
        let folder = path.join("by-hand");
        std::fs::create_dir(&folder).unwrap();
        let block = format!(
            "EXPORT {{ Export_Id = 4000; Path = \"{0}\"; FSAL {{ Name = VFS; }} CLIENT {{ Clients = *; Access_Type = RW; Protocols = 3; }} }}\n",
            folder.display()
        );
        let listed = format!("with path ({}) and tag", folder.display());
        reread(&format!("{text}{block}"), &listed);
        books.says(
            host,
            &format!("FAIL  {}: ganesha serves it, and the control plane does not name it", folder.display()),
        );
        host.restart();
        host.apply();
        books.says(host, FINE);

        // The export of its own agent, given to everybody to write.
        let own = format!(
            "with path ({}",
            path.join(format!("pool/volumes/{}/{}", volume(1), seen.exports[0].id)).display()
        );
        reread(&text.replace("Access_Type = RO", "Access_Type = RW"), &own);
        books.says(host, "it lets in whom /run/tepui/ganesha.conf names by now, which was changed");
        reread(&text, &own);
        books.says(host, FINE);
        let body = text.lines().filter(|line| {
            !line.starts_with("EXPORT {")
                && !line.starts_with("  NFS_Commit")
                && !line.starts_with("  CLIENT")
        });
        let without: String = body.map(|line| format!("{line}\n")).collect();
        reread(&without, "Exports after update");
        books.says(host, "should be open, and ganesha lets nobody in by it");
        host.restart();
        host.apply();
        books.says(host, FINE);

        host.part.exports.clear();
        books.says(host, &format!("FAIL  {}: ganesha serves it", seen.exports[0].id));
    });
}

#[test]
fn who_has_a_local_volume_open_that_is_to_go_is_named() {
    on(XFS, BYTES, |path| {
        let mut host = Host::with(path, PoolBackend::Local);
        let mut books = Books::new();
        host.want_volume(1, present(16));
        host.want_export(1, open());
        host.apply();
        let file = path.join(format!("pool/volumes/{}/disk.raw", volume(1)));
        let held = std::fs::File::open(file).unwrap();
        books.says(&host, FINE);
        host.want_export(1, ExportPart::Absent);
        books.says(&host, &format!("still connected to: process {} (", std::process::id()));
        drop(held);
        books.says(&host, "PASS  exports: 0 are open as wanted");
    });
}

#[test]
fn a_file_of_a_filer_that_is_somebody_elses_is_named() {
    filer::filer_host(|host, _, path| {
        let mut books = Books::new();
        host.want_volume(1, present(16));
        host.want_export(1, ExportPart::Open { node_address: OWN, secret: SECRET.into(), read_only: false });
        host.apply();
        books.says(host, FINE);
        let file = path.join(format!("pool/volumes/{}/disk.raw", volume(1)));
        let owner = std::fs::metadata(&file).unwrap().uid();
        std::os::unix::fs::chown(&file, Some(4242), None).unwrap();
        books.says(host, "it lets in the user 4242 of the group 0, to whom its file belongs");
        std::os::unix::fs::chown(&file, Some(owner), None).unwrap();
        books.says(host, FINE);
        host.want_export(1, ExportPart::Absent);
        books.says(host, "is to go, and is still open");
        host.apply();
        books.says(host, "PASS  exports: 0 are open as wanted");
    });
}
