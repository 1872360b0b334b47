//! An agent that dies between the steps of opening and revoking an export over NFS, and the next one that goes on.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod support;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use support::client::Opener as _;
use support::lab::{PATIENCE, export};
use support::nfs::{NfsLab, OWN, nfs_lab, settings};
use tepui_storage::nfs::{Ganesha, STEPS};
use tepui_storage::{Access, Backend as _, Export, Revoked};
use tepui_types::failpoint;

/// Tells the process that dies which file it serves, and what to do.
const DISK: &str = "TEPUI_TEST_DISK";
const OPERATION: &str = "TEPUI_TEST_OPERATION";
const NUMBER: &str = "TEPUI_TEST_NUMBER";

/// Only in the processes that the other test starts is there something to do.
#[tokio::test]
async fn the_agent_that_dies() {
    let Ok(disk) = env::var(DISK) else { return };
    let text = |name| env::var(name).unwrap();
    failpoint::arm_from(&text(failpoint::VARIABLE)).unwrap();
    let ganesha = Ganesha::new(settings());
    let mut export = export(PathBuf::from(disk), text(NUMBER).parse().unwrap(), Access::ReadWrite);
    export.credential.address = OWN.into();
    match text(OPERATION).as_str() {
        "nfs_export" => drop(ganesha.ensure(&export).await.unwrap()),
        "nfs_revoke" => drop(ganesha.revoke(export.id, PATIENCE).await.unwrap()),
        other => unreachable!("no operation {other}"),
    }
}

/// An agent that carries out one operation and dies at a fail point.
fn die(operation: &str, export: &Export, point: &str) {
    let died = Command::new(env::current_exe().unwrap())
        .args(["--exact", "the_agent_that_dies"])
        .env(DISK, &export.path)
        .envs([(OPERATION, operation), (NUMBER, &export.id.bits().to_string())])
        .env(failpoint::VARIABLE, format!("{point}=exit"))
        .output()
        .unwrap();
    assert_eq!(died.status.code(), Some(failpoint::EXIT_CODE), "{point}: {died:?}");
}

#[test]
fn what_was_to_go_is_gone_with_the_ganesha_that_ended_when_no_agent_was_there() {
    nfs_lab(|lab| {
        let (export, other) = (lab.export(1, Access::ReadWrite), lab.export(2, Access::ReadWrite));
        lab.recover(&[&export]);
        let client = lab.ensure(&export);
        die("nfs_revoke", &export, "storage::nfs_revoke::shut");
        lab.run(lab.ganesha.end()).unwrap();
        lab.replace_agent();
        lab.recover(&[&other]);
        assert_eq!(lab.run(lab.ganesha.list()).unwrap().len(), 1);
        client.refusal();
        lab.ensure(&other).opens();
    });
}

/// What is left of an export on the host.
fn left(lab: &NfsLab, export: &Export) -> Vec<String> {
    let folder = fs::read_dir(export.path.parent().unwrap()).unwrap().flatten();
    let files = folder.map(|one| one.file_name().into_string().unwrap()).filter(|name| name != "disk.raw");
    let config = fs::read_to_string(lab.settings.run_dir.join("ganesha.conf")).unwrap();
    files.chain(config.lines().filter(|line| line.contains("EXPORT {")).map(str::to_owned)).collect()
}

#[test]
fn each_operation_is_finished_by_the_next_agent_wherever_the_first_one_died() {
    nfs_lab(|lab| {
        lab.recover(&[]);
        let mut number = 0;
        for (operation, steps) in STEPS {
            for (step, goes_on) in steps.iter().flat_map(|step| [(step, false), (step, true)]) {
                let point = format!("storage::{operation}::{step}");
                number += 1;
                let export = lab.export(number, Access::ReadWrite);
                let client = (*operation == "nfs_revoke").then(|| lab.ensure(&export));
                let mut writer = client.as_ref().map(|client| client.connect());
                if let Some(writer) = &mut writer {
                    writer.perform("write -P 1 0 4k");
                }
                die(operation, &export, &point);
                lab.replace_agent();
                match (goes_on, &client) {
                    (true, None) => {
                        lab.recover(&[&export]);
                        for _ in 0..2 {
                            lab.ensure(&export).opens();
                        }
                    }
                    (true, Some(_)) => lab.recover(&[]),
                    // The first thing that it does is to end the export.
                    (false, _) => {}
                }
                for _ in 0..2 {
                    assert_eq!(lab.revoke(&export), Revoked::Gone, "{point}");
                }
                assert_eq!(left(lab, &export), [] as [&str; 0], "{point}");
                assert!(lab.run(lab.ganesha.list()).unwrap().is_empty(), "{point}");
                if let (Some(client), Some(mut writer)) = (client, writer) {
                    client.refusal();
                    writer.send("write -P 66 0 4k");
                    assert!(writer.fails(PATIENCE), "{point}");
                    assert_eq!(lab.content(0, 4096), [1; 4096], "{point}");
                }
            }
        }
    });
}
