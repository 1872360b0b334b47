//! An agent that dies between the steps of opening and revoking an export, and the next one that goes on.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod support;

use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use support::client::{Opener as _, told};
use support::lab::{Initiator, Lab, PATIENCE, export, lab};
use support::{MIB, volume};
use tepui_storage::iscsi::{STEPS, Settings, Tgt};
use tepui_storage::{Access, Backend as _, Export, Revoked};
use tepui_types::failpoint;

/// Tells the process that dies where tgtd is, which file it serves, and what to do.
const RUN_DIR: &str = "TEPUI_TEST_RUN_DIR";
const PORTAL: &str = "TEPUI_TEST_PORTAL";
const DISK: &str = "TEPUI_TEST_DISK";
const OPERATION: &str = "TEPUI_TEST_OPERATION";
const NUMBER: &str = "TEPUI_TEST_NUMBER";

/// Only in the processes that the other tests start is there something to do.
#[tokio::test]
async fn the_agent_that_dies() {
    let Ok(run_dir) = env::var(RUN_DIR) else { return };
    let text = |name| env::var(name).unwrap();
    failpoint::arm_from(&text(failpoint::VARIABLE)).unwrap();
    let tgt = Tgt::new(Settings::new(PathBuf::from(run_dir), text(PORTAL).parse::<SocketAddr>().unwrap()));
    let number = text(NUMBER).parse().unwrap();
    let export = export(PathBuf::from(text(DISK)), number, Access::ReadWrite);
    match text(OPERATION).as_str() {
        "recover" => drop(tgt.recover(&[export]).await.unwrap()),
        "export" | "enlarge" => drop(tgt.ensure(&export).await.unwrap()),
        "revoke" => drop(tgt.revoke(export.id, PATIENCE).await.unwrap()),
        other => unreachable!("no operation {other}"),
    }
}

/// An agent that carries out one operation and dies at a fail point.
fn die(lab: &Lab, operation: &str, export: &Export, point: &str) {
    let died = Command::new(env::current_exe().unwrap())
        .args(["--exact", "the_agent_that_dies"])
        .env(RUN_DIR, &lab.settings.run_dir)
        .env(PORTAL, lab.settings.portal.to_string())
        .env(DISK, &export.path)
        .envs([(OPERATION, operation), (NUMBER, &export.id.bits().to_string())])
        .env(failpoint::VARIABLE, format!("{point}=exit"))
        .output()
        .unwrap();
    assert_eq!(died.status.code(), Some(failpoint::EXIT_CODE), "{point}: {died:?}");
}

#[test]
fn each_operation_is_finished_by_the_next_agent_wherever_the_first_one_died() {
    lab(|lab| {
        lab.recover(&[]);
        let (mut number, mut megabytes) = (0, 64);
        for (operation, steps) in STEPS {
            for step in *steps {
                let point = format!("storage::{operation}::{step}");
                number += 1;
                let export = lab.export(number, Access::ReadWrite);
                if *operation != "export" {
                    let source = lab.ensure(&export);
                    lab.initiator(&export, &source).opens();
                }
                if *operation == "enlarge" {
                    megabytes *= 2;
                    lab.pool.grow_volume(volume(1), megabytes * MIB).unwrap();
                }
                die(lab, operation, &export, &point);
                let without_secret =
                    Initiator { account: None, ..lab.initiator(&export, &lab.source_of(&export)) };
                without_secret.refusal();
                lab.tgt = Tgt::new(lab.settings.clone());
                if *operation != "revoke" {
                    for _ in 0..2 {
                        let source = lab.ensure(&export);
                        let seen = lab.initiator(&export, &source).perform(&["length"], true);
                        assert!(told(&seen).contains(&size(megabytes)), "{point}: {}", told(&seen));
                    }
                }
                let source = lab.source_of(&export);
                for _ in 0..2 {
                    assert_eq!(
                        lab.run(lab.tgt.revoke(export.id, PATIENCE)).unwrap(),
                        Revoked::Gone,
                        "{point}"
                    );
                }
                assert!(lab.run(lab.tgt.list()).unwrap().is_empty(), "{point}");
                lab.initiator(&export, &source).refusal();
                assert_eq!(accounts(lab), "", "{point}");
            }
        }
    });
}

/// So many MiB as qemu-io shows them.
fn size(megabytes: u64) -> String {
    format!("{megabytes} MiB")
}

/// What tgt's own tool shows of accounts.
fn accounts(lab: &Lab) -> String {
    let mut show = Command::new("tgtadm");
    show.env("TGT_IPC_SOCKET", lab.settings.run_dir.join("tgt"));
    support::call(show.args(["--lld", "iscsi", "--op", "show", "--mode", "account"]))
}

#[test]
fn tgtd_outlives_the_agent_that_started_it_and_lets_nobody_in_before_everything_is_there() {
    lab(|lab| {
        let export = lab.export(1, Access::ReadWrite);
        die(lab, "recover", &export, "storage::export::admit");
        lab.guard();
        let pid = lab.process();
        let initiator = lab.initiator(&export, &lab.source_of(&export));
        assert!(lab.run(lab.tgt.list()).unwrap()[0].open);
        let refusal = initiator.refusal();
        assert!(refusal.contains("Failed to connect"), "{refusal}");
        lab.recover(&[&export]);
        assert_eq!(lab.process(), pid);
        initiator.opens();
    });
}
