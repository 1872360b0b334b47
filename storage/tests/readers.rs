//! A volume that nobody writes and many read at once: stock clients read together, none of them writes, and one that is
//! shut out disturbs no other.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod support;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use support::client::{Client, Opener, told};
use support::lab::{Initiator, PATIENCE, lab, secret_of};
use support::nfs::{NfsClient, OWN, nfs_lab};
use support::{MIB, volume};
use tepui_storage::{Access, Backend as _, Export, ExportError, Pool, Revoked};

use Access::{ReadOnly, ReadWrite};

/// What the volume holds.
static CONTENT: [u8; 64 << 10] = [7; 64 << 10];

/// Writes what the volume holds from the beginning, as the snapshot does that it is made of.
fn fill(path: &Path) {
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(&CONTENT, MIB).unwrap();
}

fn read(pool: &Pool) -> Vec<u8> {
    let mut content = vec![0; 64 << 20];
    fs::File::open(pool.volume(volume(1)).unwrap().unwrap().path)
        .unwrap()
        .read_exact_at(&mut content, 0)
        .unwrap();
    content
}

/// One that stays, as QEMU opens a disk that is read only.
fn reader(opener: &impl Opener) -> Client {
    let mut qemu_io = opener.qemu_io();
    qemu_io.arg("-r");
    Client::start(qemu_io)
}

fn assert_reads(opener: &impl Opener) {
    let output = opener.perform(&["read -P 7 1M 64k", "read -P 0 0 64k"], true);
    let told = told(&output);
    assert!(told.matches("read 65536/65536").count() == 2 && !told.contains("failed"), "{told}");
}

/// libiscsi's own suite of what a unit that is read only must refuse: every command of SBC that writes.
fn refuses_by_the_standard(export: &Export, initiator: &Initiator) -> Output {
    let Initiator { portal, target, account, initiator, .. } = initiator;
    let mut suite = Command::new("iscsi-test-cu");
    suite.env("LIBISCSI_CHAP_USERNAME", account.as_deref().unwrap());
    suite.env("LIBISCSI_CHAP_PASSWORD", secret_of(export.id));
    suite.args([
        "--dataloss",
        "--fail",
        "--initiator-name",
        initiator,
        "--test",
        "SCSI.ReadOnly.ReadOnlySBC",
    ]);
    suite.arg(format!("iscsi://{portal}/{target}/1")).output().unwrap()
}

#[test]
fn over_iscsi_initiators_read_together_and_none_of_their_writes_lands() {
    lab(|lab| {
        let exports = [1, 2].map(|number| lab.export(number, ReadOnly));
        fill(&exports[0].path);
        lab.recover(&[]);
        let initiators = exports.each_ref().map(|export| lab.initiator(export, &lab.ensure(export)));
        let mut readers = initiators.each_ref().map(reader);
        for _ in 0..2 {
            readers.iter_mut().for_each(|reader| reader.perform("read 1M 64k"));
            initiators.iter().for_each(assert_reads);
        }
        let before = read(&lab.pool);
        for (export, initiator) in exports.iter().zip(&initiators) {
            let output = refuses_by_the_standard(export, initiator);
            let told = told(&output);
            assert!(output.status.success() && told.contains("ReadOnlySBC"), "{told}");
        }
        assert!(read(&lab.pool) == before, "a write landed");
        let error = lab.run(lab.tgt.ensure(&lab.export(3, ReadWrite))).unwrap_err();
        assert!(matches!(error, ExportError::Held { .. }), "{error}");

        assert_eq!(lab.run(lab.tgt.revoke(exports[0].id, PATIENCE)).unwrap(), Revoked::Gone);
        readers[1].perform("read 1M 64k");
        assert_reads(&initiators[1]);
        initiators[0].refusal();
        readers[0].send("read 0 4k");
        assert!(!readers[0].is_done(Duration::from_millis(100)), "one that was shut out reads on");
    });
}

#[test]
fn over_nfs_clients_read_together_and_none_of_their_writes_lands() {
    nfs_lab(|lab| {
        let exports = [1, 2].map(|number| lab.export(number, ReadOnly));
        fill(&exports[0].path);
        lab.recover(&[]);
        let clients = exports.each_ref().map(|export| lab.ensure(export));
        let mut readers = clients.each_ref().map(reader);
        for _ in 0..2 {
            readers.iter_mut().for_each(|reader| reader.perform("read 1M 64k"));
            clients.iter().for_each(assert_reads);
        }
        let before = read(&lab.pool);
        let other = lab.path.join("other");
        fs::write(&other, [9; 8192]).unwrap();
        for NfsClient { path, user } in &clients {
            for path in [path.clone(), path.with_file_name("new")] {
                let mut copy = Command::new("nfs-cp");
                copy.arg(&other).arg(format!("nfs://{OWN}{}?uid={user}&gid={user}", path.display()));
                let output = copy.output().unwrap();
                let told = told(&output);
                assert!(told.contains("NFS3ERR_ROFS"), "{} {told}", path.display());
            }
        }
        assert!(read(&lab.pool) == before, "a write landed");
        for NfsClient { path, .. } in &clients {
            assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "a file was made");
        }

        assert_eq!(lab.revoke(&exports[0]), Revoked::Gone);
        readers[1].perform("read 1M 64k");
        assert_reads(&clients[1]);
        clients[0].refusal();
        readers[0].send("read 1M 64k");
        assert!(readers[0].fails(PATIENCE), "one that was shut out reads on");
    });
}
