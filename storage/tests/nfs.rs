//! Exports by a real ganesha, opened by QEMU's own NFS client.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::client::{Opener as _, told};
use support::lab::PATIENCE;
use support::nfs::{FOREIGN, NfsClient, NfsLab, here, kill, nfs_lab};
use support::{MIB, after_power_cut, call, volume};
use tepui_storage::{Access, Backend as _, Export, ExportError, Revoked};

use Access::{ReadOnly, ReadWrite};

/// Longer than ganesha takes where nothing hangs.
const SHORT: Duration = Duration::from_secs(5);

/// An export of another volume.
fn other(lab: &NfsLab, number: u128) -> Export {
    let mut export = lab.export(number, ReadWrite);
    export.volume = volume(number);
    export.path = lab.pool.create_volume(volume(number), MIB).unwrap().path;
    export
}

#[test]
fn the_hosts_address_reads_and_writes_and_everything_else_is_refused() {
    nfs_lab(|lab| {
        let export = lab.export(1, ReadWrite);
        lab.recover(&[]);
        let right = lab.ensure(&export);
        let output = right.perform(&["write -P 7 1M 64k", "read -P 7 1M 64k", "flush", "length"], false);
        assert!(output.status.success() && told(&output).contains("64 MiB"), "{}", told(&output));
        assert_eq!(lab.content(MIB, 64 << 10), vec![7; 64 << 10]);
        let folder = right.path.parent().unwrap();
        assert_eq!(lab.shown().trim(), format!("{} 10.99.0.1/32", folder.display()));
        // Whoever a client says that it is: the server knows its address alone.
        NfsClient { user: 0, ..right.clone() }.opens();

        let mut foreign = other(lab, 2);
        foreign.credential.address = FOREIGN.into();
        let sibling = lab.ensure(&foreign);
        let refused = |path: PathBuf| NfsClient { path, ..right.clone() }.refusal();
        for refusal in [
            sibling.refusal(),
            refused(folder.join("../disk.raw")),
            refused(export.path.clone()),
            refused(lab.path.join("pool/tepui-pool")),
        ] {
            assert!(refusal.contains("MNT3ERR_ACCES"), "{refusal}");
        }
        assert!(!lab.shown().contains(foreign.id.to_string().as_str()), "{}", lab.shown());

        assert_eq!(lab.revoke(&export), Revoked::Gone);
        assert!(right.refusal().contains("MNT3ERR_"), "{}", right.refusal());
        assert_eq!(lab.shown(), "");
        let found = fs::metadata(&export.path).unwrap();
        assert_eq!((found.nlink(), found.gid(), found.mode() & 0o777), (1, 0, 0o600), "it is root's again");
        assert!(!folder.exists());
    });
}

#[test]
fn a_client_of_one_export_opens_no_other_file_even_with_a_handle_of_it() {
    nfs_lab(|lab| {
        let (one, two) = (lab.export(1, ReadWrite), other(lab, 2));
        lab.recover(&[&one, &two]);
        let client = lab.ensure(&one);
        lab.ensure(&two).opens();
        // A handle is a number that a client could guess; a name is the easiest way to it.
        let name = client.path.with_file_name("guessed");
        fs::hard_link(&two.path, &name).unwrap();
        let refusal = NfsClient { path: name, ..client }.refusal();
        assert!(refusal.contains("ACCES"), "{refusal}");
    });
}

#[test]
fn readers_share_a_volume_and_do_not_write() {
    nfs_lab(|lab| {
        let readers = [lab.export(2, ReadOnly), lab.export(3, ReadOnly)];
        lab.recover(&[&readers[0]]);
        for export in &readers {
            let client = lab.ensure(export);
            client.opens();
            let output = client.perform(&["write -P 9 0 4k"], false);
            assert!(!told(&output).contains("wrote 4096"), "{}", told(&output));
        }
        assert_eq!(lab.content(0, 4096), [0; 4096]);
        let error = lab.run(lab.ganesha.ensure(&lab.export(4, ReadWrite))).unwrap_err();
        assert!(matches!(error, ExportError::Held { .. }), "{error}");
        assert_eq!(lab.revoke(&readers[0]), Revoked::Gone);
        lab.ensure(&readers[1]).opens();
    });
}

#[test]
fn a_revoked_writer_keeps_its_handle_and_none_of_its_late_bytes_lands() {
    nfs_lab(|lab| {
        let first = lab.export(1, ReadWrite);
        lab.recover(&[]);
        let client = lab.ensure(&first);
        let mut writer = client.connect();
        writer.perform("write -P 1 0 4k");
        let second = lab.export(2, ReadWrite);
        let error = lab.run(lab.ganesha.ensure(&second)).unwrap_err();
        assert!(
            matches!(&error, ExportError::Held { holder, .. } if *holder == first.id.to_string()),
            "{error}"
        );
        assert_eq!(lab.revoke(&first), Revoked::Gone);
        assert_eq!(lab.revoke(&first), Revoked::Gone);
        writer.send("write -P 66 0 4k");
        assert!(writer.fails(PATIENCE));

        let next = lab.ensure(&second);
        let output = next.perform(&["read -P 1 0 4k", "write -P 2 0 4k", "flush"], false);
        assert!(output.status.success(), "{}", told(&output));
        writer.send("write -P 66 0 4k");
        assert!(writer.fails(PATIENCE), "also while the same file is another's, on the same host");
        assert_eq!(lab.content(0, 4096), [2; 4096]);
        client.refusal();
        next.opens();
        let error = lab.run(lab.ganesha.ensure(&first)).unwrap_err();
        assert!(matches!(error, ExportError::Held { .. }), "{error}");
    });
}

#[test]
fn an_export_is_not_gone_before_its_last_write_is_done() {
    nfs_lab(|lab| {
        let (first, second) = (lab.export(1, ReadWrite), lab.export(2, ReadWrite));
        lab.recover(&[&first]);
        let mut writer = lab.ensure(&first).connect();
        writer.perform("write -P 1 0 4k");
        assert_eq!(level(lab), "INFO");
        let frozen = Frozen::at(&lab.path);
        writer.send("write -P 3 0 4k");
        until_writing();
        let still = lab.run(lab.ganesha.revoke(first.id, Duration::from_millis(300))).unwrap();
        assert!(matches!(&still, Revoked::StillConnected(peers) if peers.len() == 1), "{still:?}");
        let error = lab.run(lab.ganesha.ensure(&second)).unwrap_err();
        assert!(matches!(error, ExportError::Held { .. }), "{error}");
        let found = lab.run(lab.ganesha.list()).unwrap();
        assert!(!found[0].open && found[0].connections.len() == 1, "{found:?}");
        // Another agent does not know more.
        lab.replace_agent();
        lab.recover(&[]);
        let still = lab.run(lab.ganesha.revoke(first.id, Duration::ZERO)).unwrap();
        assert!(matches!(still, Revoked::StillConnected(_)), "{still:?}");
        assert_eq!(level(lab), "DEBUG", "it says when the write is done");
        drop(frozen);
        assert_eq!(lab.revoke(&first), Revoked::Gone);
        assert_eq!(level(lab), "INFO", "what it need not say costs nothing");
        assert_eq!(lab.content(0, 4096), [3; 4096], "it landed before");
        writer.send("write -P 4 0 4k");
        assert!(writer.fails(PATIENCE));
        lab.ensure(&second).opens();
    });
}

/// How much ganesha is told to say of its exports.
fn level(lab: &NfsLab) -> String {
    let config = fs::read_to_string(lab.settings.run_dir.join("ganesha.conf")).unwrap();
    config.split("EXPORT = ").nth(1).unwrap().split(';').next().unwrap().to_owned()
}

/// A file system that takes no write, and finishes none, until this is dropped; or for so long that a test that waits
/// for it fails.
struct Frozen(Child);

impl Frozen {
    fn at(path: &Path) -> Self {
        call(Command::new("fsfreeze").arg("--freeze").arg(path));
        let mut thaw = Command::new("sh");
        thaw.args(["-c", "timeout 30 cat; fsfreeze --unfreeze \"$0\""]).arg(path);
        Self(thaw.stdin(Stdio::piped()).spawn().unwrap())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // It does its work once its input ends.
        let _ = self.0.wait();
    }
}

fn until_writing() {
    let deadline = Instant::now() + PATIENCE;
    while !is_writing(here("ganesha.nfsd")[0]) {
        assert!(Instant::now() < deadline, "the write does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether one of its threads waits for a frozen file system.
fn is_writing(pid: i32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    threads.map(|thread| fs::read_to_string(thread.path().join("stat")).unwrap_or_default()).any(|stat| {
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest.starts_with('D'));
        state == Some(true)
    })
}

#[test]
fn ganesha_that_was_killed_comes_back_with_everything_also_after_a_boot_and_the_writer_goes_on() {
    nfs_lab(|lab| {
        let (gone, export) = (other(lab, 5), lab.export(1, ReadWrite));
        lab.recover(&[&gone, &export]);
        assert_eq!(lab.revoke(&gone), Revoked::Gone);
        let client = lab.ensure(&export);
        let mut writer = client.connect();
        writer.perform("write -P 1 0 4k");
        let pid = here("ganesha.nfsd")[0];
        let ended = |patience| lab.run(async { tokio::time::timeout(patience, lab.ganesha.ended()).await });
        assert!(ended(Duration::from_millis(100)).is_err(), "it runs");
        kill(pid);
        ended(PATIENCE).unwrap().unwrap();
        writer.send("write -P 2 4k 4k");
        let error = lab.run(lab.ganesha.ensure(&export)).unwrap_err().to_string();
        assert!(error.contains("does not run"), "{error}");
        // A boot leaves nothing under /run.
        fs::remove_dir_all(&lab.settings.run_dir).unwrap();
        lab.replace_agent();

        let mut missing = lab.export(3, ReadOnly);
        missing.path = lab.path.join("missing");
        let failed = lab.run(lab.ganesha.recover(&[export.clone(), missing.clone()])).unwrap();
        lab.guard();
        assert_eq!(failed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [missing.id]);
        assert!(writer.is_done(PATIENCE), "the write that hung is not finished");
        assert_eq!(lab.content(0, 8192), [[1; 4096], [2; 4096]].concat());
        assert_eq!(lab.ensure(&export).path, client.path);
        assert_eq!(lab.revoke(&missing), Revoked::Gone);
    });
}

#[test]
fn a_power_cut_of_the_storage_host_takes_nothing_that_was_answered() {
    nfs_lab(|lab| {
        let export = lab.export(1, ReadWrite);
        lab.recover(&[&export]);
        let mut writer = lab.ensure(&export).connect();
        // Nothing is flushed.
        for write in ["write -P 1 0 64k", "write -P 2 4k 4k", "write -z 8k 4k"] {
            writer.perform(write);
        }
        let left = after_power_cut(&lab.path, &export.path);
        for (offset, expected) in [(0, 1), (4096, 2), (8192, 0), (12288, 1)] {
            let mut found = [0; 4096];
            left.read_exact_at(&mut found, offset).unwrap();
            assert!(found == [expected; 4096], "at {offset}");
        }
    });
}

/// Takes the pool away, as if it was not mounted, or brings it back.
fn carry(lab: &NfsLab, from: &str, to: &str) {
    fs::rename(lab.path.join(from), lab.path.join(to)).unwrap();
}

/// An export of a volume that is in no pool.
fn elsewhere(lab: &NfsLab, number: u128) -> Export {
    let mut export = lab.export(number, ReadWrite);
    let folder = lab.path.join(number.to_string());
    fs::create_dir(&folder).unwrap();
    (export.volume, export.path) = (volume(number), folder.join("disk.raw"));
    fs::File::create(&export.path).unwrap().set_len(MIB).unwrap();
    export
}

#[test]
fn an_export_whose_pool_was_away_is_served_again_and_then_not_gone_before_its_last_write() {
    nfs_lab(|lab| {
        let (export, others) = (lab.export(1, ReadWrite), [5, 6].map(|number| elsewhere(lab, number)));
        lab.recover(&[&export]);
        lab.ensure(&export).opens();
        carry(lab, "pool", "aside");
        // Ganesha drops the one that is away, and lets go of it before the next.
        for other in &others {
            lab.ensure(other).opens();
        }
        carry(lab, "aside", "pool");
        let client = lab.ensure(&export);
        client.opens();

        let mut writer = client.connect();
        writer.perform("write -P 1 0 4k");
        let frozen = Frozen::at(&lab.path);
        writer.send("write -P 3 0 4k");
        until_writing();
        let still = lab.run(lab.ganesha.revoke(export.id, Duration::from_millis(300))).unwrap();
        assert!(matches!(still, Revoked::StillConnected(_)), "{still:?}");
        drop(frozen);
        assert_eq!(lab.revoke(&export), Revoked::Gone);
    });
}

#[test]
fn an_export_whose_pool_is_away_can_be_revoked() {
    nfs_lab(|lab| {
        let (export, others) = (lab.export(1, ReadWrite), [5, 6, 7].map(|number| elsewhere(lab, number)));
        let gone = |lab: &NfsLab| {
            assert_eq!(lab.run(lab.ganesha.revoke(export.id, SHORT)).unwrap(), Revoked::Gone);
            assert!(!lab.ganesha.has(export.id).unwrap());
        };
        lab.recover(&[&export]);
        carry(lab, "pool", "aside");
        lab.ensure(&others[0]);
        // That it is freed is not forgotten with the log.
        let log = fs::OpenOptions::new().append(true).open(lab.settings.log());
        log.unwrap().write_all(&vec![b'x'; 2 << 20]).unwrap();
        lab.ensure(&others[1]).opens();
        lab.ensure(&others[2]).opens();
        gone(lab);

        carry(lab, "aside", "pool");
        lab.ensure(&export).opens();
        carry(lab, "pool", "aside");
        kill(here("ganesha.nfsd")[0]);
        lab.run(lab.ganesha.ended()).unwrap();
        lab.recover(&[&others[0]]);
        gone(lab);
        carry(lab, "aside", "pool");
        lab.ensure(&lab.export(2, ReadWrite)).opens();
    });
}

#[test]
fn what_was_to_go_is_gone_with_the_ganesha_that_ended() {
    nfs_lab(|lab| {
        let (first, second) = (lab.export(1, ReadWrite), lab.export(2, ReadWrite));
        lab.recover(&[&first]);
        let mut writer = lab.ensure(&first).connect();
        writer.perform("write -P 1 0 4k");
        kill(here("ganesha.nfsd")[0]);
        let deadline = Instant::now() + PATIENCE;
        while !here("ganesha.nfsd").is_empty() {
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(lab.revoke(&first), Revoked::Gone, "nothing serves");
        writer.send("write -P 66 0 4k");
        lab.recover(&[&second]);
        assert!(writer.fails(PATIENCE), "its handle leads nowhere");
        lab.ensure(&second).opens();
        assert_eq!(lab.content(0, 4096), [1; 4096]);
    });
}

#[test]
fn the_next_agent_takes_over_the_ganesha_that_runs() {
    nfs_lab(|lab| {
        let export = lab.export(1, ReadWrite);
        lab.recover(&[&export]);
        let mut writer = lab.ensure(&export).connect();
        writer.perform("write -P 1 0 4k");
        let (pids, before) = (here("ganesha.nfsd"), lab.run(lab.ganesha.list()).unwrap());
        lab.replace_agent();
        // It does not name the export that is there.
        lab.recover(&[]);
        writer.perform("write -P 2 0 4k");
        lab.recover(&[&export]);
        assert_eq!((here("ganesha.nfsd"), lab.run(lab.ganesha.list()).unwrap()), (pids, before));
        assert!(!lab.settings.log().with_added_extension("old").exists(), "another one was started");
        writer.perform("write -P 3 0 4k");
        assert_eq!(lab.content(0, 4096), [3; 4096]);
    });
}

#[test]
fn an_rpcbind_that_was_killed_is_started_again_and_clients_find_the_server() {
    nfs_lab(|lab| {
        let export = lab.export(1, ReadWrite);
        lab.recover(&[&export]);
        let client = lab.ensure(&export);
        let mut writer = client.connect();
        writer.perform("write -P 1 0 4k");
        kill(here("rpcbind")[0]);
        let ended = async { tokio::time::timeout(PATIENCE, lab.ganesha.ended()).await };
        lab.run(ended).unwrap().unwrap();
        lab.recover(&[&export]);
        client.opens();
        writer.perform("write -P 2 0 4k");
        assert_eq!(lab.content(0, 4096), [2; 4096]);
    });
}

#[test]
fn a_port_mapper_that_came_anew_and_does_not_know_ganesha_is_noticed() {
    nfs_lab(|lab| {
        lab.recover(&[]);
        let ended = |patience| lab.run(async { tokio::time::timeout(patience, lab.ganesha.ended()).await });
        assert!(ended(Duration::from_secs(6)).is_err(), "it is known");
        // It would name the port of another version.
        for version in ["1", "3"] {
            call(Command::new("rpcinfo").args(["-d", "100005", version]));
        }
        ended(Duration::from_secs(20)).unwrap().unwrap();
        assert_eq!(here("rpcbind").len(), 1);
    });
}

#[test]
fn the_log_of_ganesha_stays_short() {
    nfs_lab(|lab| {
        lab.recover(&[]);
        let log = lab.settings.log();
        fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(&vec![b'x'; 2 << 20]).unwrap();
        let export = lab.export(1, ReadWrite);
        lab.ensure(&export).opens();
        let said = fs::read(&log).unwrap();
        assert!(!said.is_empty() && said.len() < 64 << 10 && !said.contains(&0), "{}", said.len());
        assert_eq!(lab.revoke(&export), Revoked::Gone);
    });
}

#[test]
fn what_ganesha_cannot_carry_and_other_content_of_one_export_is_refused() {
    nfs_lab(|lab| {
        let export = lab.export(1, ReadWrite);
        lab.recover(&[&export]);
        let refusal = |change: &dyn Fn(&mut Export)| {
            let mut other = export.clone();
            change(&mut other);
            lab.run(lab.ganesha.ensure(&other)).unwrap_err().to_string()
        };
        let id = export.id;
        let rule =
            "must be absolute, below 900 bytes of UTF-8, without quotes, backslash, parentheses and line end";
        for (refusal, expected) in [
            (refusal(&|one| one.path = "/pool/a\"b".into()), format!("{id}: path {rule}")),
            (refusal(&|one| one.path = "disk.raw".into()), format!("{id}: path {rule}")),
            (
                refusal(&|one| one.path = "/pool/other".into()),
                format!("{id} is there with another file: {}", export.path.display()),
            ),
            (refusal(&|one| one.access = ReadOnly), format!("{id} is there with another access: read-write")),
            (
                refusal(&|one| one.credential.address = FOREIGN.into()),
                format!("{id} is there with another address: 10.99.0.1"),
            ),
        ] {
            assert_eq!(refusal, expected);
        }
        lab.ensure(&export).opens();
    });
}

#[test]
fn a_thousand_exports_are_there_again() {
    nfs_lab(|lab| {
        let exports: Vec<_> = (1..=1000)
            .map(|number| {
                let mut export = lab.export(number, ReadWrite);
                let folder = lab.path.join(number.to_string());
                fs::create_dir(&folder).unwrap();
                export.path = folder.join("disk.raw");
                fs::File::create(&export.path).unwrap().set_len(MIB).unwrap();
                export
            })
            .collect();
        let all: Vec<_> = exports.iter().collect();
        // Made, and taken over by the next agent.
        for _ in 0..2 {
            let start = Instant::now();
            lab.replace_agent();
            lab.recover(&all);
            eprintln!("recovered in {:?}", start.elapsed());
        }
        let found = lab.run(lab.ganesha.list()).unwrap();
        assert_eq!(found.iter().filter(|found| found.open).count(), 1000);
        assert_eq!(lab.revoke(&exports[500]), Revoked::Gone);
        lab.ensure(&exports[999]).opens();
    });
}
