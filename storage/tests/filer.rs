//! Volumes on a filer, a real ganesha that knows nothing of them, opened by QEMU's own NFS client.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod support;

use std::env;
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use support::client::{Opener as _, told};
use support::filer::{FilerLab, filer_lab, settings};
use support::lab::{PATIENCE, export};
use support::nfs::NfsClient;
use support::{MIB, volume};
use tepui_storage::filer::{self, Filer, STEPS, Settings};
use tepui_storage::{Access, Backend as _, Export, ExportError, Revoked};
use tepui_types::{ExportId, failpoint};

use Access::{ReadOnly, ReadWrite};

/// The first bytes of the volume as the pool's host has them.
fn content(export: &Export) -> Vec<u8> {
    let mut content = vec![0; 4096];
    fs::File::open(&export.path).unwrap().read_exact_at(&mut content, 0).unwrap();
    content
}

fn owner(export: &Export) -> (u32, u32, u32) {
    let found = fs::metadata(&export.path).unwrap();
    (found.uid(), found.gid(), found.mode() & 0o777)
}

const ROOTS: (u32, u32, u32) = (0, 0, 0o600);

#[test]
fn a_pool_is_used_only_where_the_filer_serves_that_very_folder() {
    filer_lab(|lab| {
        let pool = lab.path.join("pool");
        let asked =
            |lab: &FilerLab, settings| lab.run(Filer::new(settings).check()).map_err(|e| e.to_string());
        assert_eq!(asked(lab, settings(&pool)), Ok(()));
        let elsewhere = Settings { folder: lab.path.join("nowhere"), ..settings(&pool) };
        let error = asked(lab, elsewhere).unwrap_err();
        assert!(
            error.contains("10.99.0.1 does not serve the pool at") && error.contains("nowhere"),
            "{error}"
        );
        let other = lab.path.join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("tepui-pool"), "pool-00000000000000009\n").unwrap();
        let error = asked(lab, Settings { folder: other, ..settings(&pool) }).unwrap_err();
        assert!(error.ends_with(": another pool is there"), "{error}");
        lab.end_server();
        // One that takes all users for nobody could not tell one export from another.
        lab.server.serve_with(&lab.path, "All_Squash");
        let deadline = Instant::now() + PATIENCE;
        let error = loop {
            let error = asked(lab, settings(&pool)).unwrap_err();
            if error.contains("refuses a file to the user to whom it belongs") {
                break error;
            }
            assert!(Instant::now() < deadline, "{error}");
        };
        assert!(error.contains("ACCESS denied"), "{error}");
        lab.end_server();
        let begun = Instant::now();
        let error = asked(lab, settings(&pool)).unwrap_err();
        assert!(error.contains("does not serve the pool") && begun.elapsed() < PATIENCE, "{error}");
        lab.serve();
    });
}

#[test]
fn a_volume_is_its_exports_user_s_alone() {
    filer_lab(|lab| {
        let export = lab.export(1, ReadWrite);
        for _ in 0..2 {
            lab.ensure(&export);
        }
        let right = lab.ensure(&export);
        let output = right.perform(&["write -P 7 1M 64k", "read -P 7 1M 64k", "flush", "length"], false);
        assert!(output.status.success() && told(&output).contains("64 MiB"), "{}", told(&output));
        // Another export's, a guest host's root, nobody.
        for user in [right.user + 1, 0, 65534] {
            let refusal = NfsClient { user, ..right.clone() }.refusal();
            assert!(refusal.contains("ACCESS denied"), "{user}: {refusal}");
        }
        let error = lab.refused(&lab.export(2, ReadWrite));
        assert!(
            matches!(&error, ExportError::Held { holder, .. } if *holder == export.id.to_string()),
            "{error}"
        );
        lab.replace_agent();
        let error = lab.refused(&lab.export(2, ReadWrite));
        assert!(matches!(error, ExportError::Held { .. }), "another agent sees it, too: {error}");
        assert_eq!(lab.run(lab.filer.list()).unwrap(), []);
        let told = |id| filer::look(id, volume(1), &export.path).unwrap();
        let (own, others) = (told(export.id), told(ExportId::from_random(2)));
        assert!(own.open && own.access == ReadWrite && own.others.is_empty(), "{own:?}");
        assert!(!others.open && others.others[0].contains("to whom its file belongs"), "{others:?}");
        right.opens();

        assert_eq!(lab.revoke(&export), Revoked::Gone);
        assert_eq!(owner(&export), ROOTS);
        assert!(!filer::look(export.id, volume(1), &export.path).unwrap().open);
        assert!(right.refusal().contains("ACCESS denied"));
        let mut foreign = export;
        foreign.path = lab.path.join("elsewhere");
        assert!(matches!(lab.refused(&foreign), ExportError::Invalid { field: "path", .. }));
    });
}

#[test]
fn none_of_a_revoked_writers_late_bytes_lands_before_or_after_the_volume_is_anothers() {
    filer_lab(|lab| {
        // By chance the two have one user, so that nothing but the file itself keeps them apart.
        let (first, second) = (lab.export(1, ReadWrite), lab.export(1 | 1 << 60, ReadWrite));
        let client = lab.ensure(&first);
        let mut writer = client.connect();
        writer.perform("write -P 1 0 4k");
        // As after a partition: the agent that gave it out is not the one that takes it.
        lab.replace_agent();
        assert_eq!(lab.revoke(&first), Revoked::Gone);
        writer.send("write -P 66 0 4k");
        assert_eq!(lab.revoke(&first), Revoked::Gone);
        let next = lab.ensure(&second);
        let output = next.perform(&["read -P 1 0 4k", "write -P 2 0 4k", "flush"], false);
        assert!(output.status.success(), "{}", told(&output));
        writer.send("write -P 66 0 4k");
        assert!(writer.fails(PATIENCE));
        assert_eq!(content(&second), [2; 4096]);
        next.opens();
        // A late order to end another one ends nothing of it.
        assert_eq!(lab.revoke(&lab.export(3, ReadWrite)), Revoked::Gone);
        next.opens();
        assert_eq!(lab.revoke(&second), Revoked::Gone);
        client.refusal();
    });
}

#[test]
fn a_volume_has_its_bytes_and_its_size_through_all_its_exports() {
    filer_lab(|lab| {
        for number in 1..=3 {
            let export = lab.export(number, ReadWrite);
            let client = lab.ensure(&export);
            let (before, now) = (number - 1, format!("write -P {number} {number}M 4k"));
            let read = format!("read -P {before} {before}M 4k");
            let output = client.perform(&[&read, &now, "flush"], false);
            assert!(output.status.success(), "{}", told(&output));
            lab.pool.grow_volume(volume(1), (64 + u64::try_from(number).unwrap()) * MIB).unwrap();
            assert_eq!(lab.revoke(&export), Revoked::Gone);
        }
        let found = lab.pool.volume(volume(1)).unwrap().unwrap();
        assert_eq!(found.bytes, 67 * MIB);
        assert!(found.allocated < MIB, "a clone has its holes: {}", found.allocated);
    });
}

#[test]
fn readers_share_a_volume_and_do_not_write() {
    filer_lab(|lab| {
        let readers = [lab.export(2, ReadOnly), lab.export(3, ReadOnly)];
        let clients: Vec<_> = readers.iter().map(|export| lab.ensure(export)).collect();
        for client in &clients {
            client.opens();
            let output = client.perform(&["write -P 9 0 4k"], false);
            assert!(!told(&output).contains("wrote 4096"), "{}", told(&output));
        }
        assert!(matches!(lab.refused(&lab.export(4, ReadWrite)), ExportError::Held { .. }));
        assert_eq!(lab.revoke(&readers[0]), Revoked::Gone);
        clients[1].opens();
        assert_eq!(lab.revoke(&readers[1]), Revoked::Gone);
        assert_eq!(owner(&readers[1]), ROOTS);
        clients[1].refusal();
        lab.ensure(&lab.export(4, ReadWrite)).opens();
    });
}

#[test]
fn a_writer_waits_for_a_filer_that_is_away_and_goes_on() {
    filer_lab(|lab| {
        let export = lab.export(1, ReadWrite);
        let mut writer = lab.ensure(&export).connect();
        writer.perform("write -P 1 0 4k");
        lab.end_server();
        writer.send("write -P 2 0 4k");
        lab.serve();
        assert!(writer.is_done(PATIENCE));
        assert_eq!(content(&export), [2; 4096]);
    });
}

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
    let disk = PathBuf::from(disk);
    let filer = Filer::new(settings(disk.ancestors().nth(3).unwrap()));
    let export = export(disk, text(NUMBER).parse().unwrap(), ReadWrite);
    match text(OPERATION).as_str() {
        "filer_export" => drop(filer.ensure(&export).await.unwrap()),
        "filer_revoke" => {
            filer.take_over(export.id, export.path.clone()).await;
            drop(filer.revoke(export.id, PATIENCE).await.unwrap());
        }
        other => unreachable!("no operation {other}"),
    }
}

#[test]
fn each_operation_is_finished_by_the_next_agent_wherever_the_first_one_died() {
    filer_lab(|lab| {
        let points =
            STEPS.iter().flat_map(|(operation, steps)| steps.iter().map(move |step| (operation, step)));
        for (number, (operation, step)) in points.enumerate() {
            let export = lab.export(number as u128 + 1, ReadWrite);
            let point = format!("storage::{operation}::{step}");
            let client = (*operation == "filer_revoke").then(|| lab.ensure(&export));
            let mut writer = client.as_ref().map(|client| client.connect());
            if let Some(writer) = &mut writer {
                writer.perform("write -P 1 0 4k");
            }
            let died = Command::new(env::current_exe().unwrap())
                .args(["--exact", "the_agent_that_dies"])
                .env(DISK, &export.path)
                .envs([(OPERATION, *operation), (NUMBER, &export.id.bits().to_string())])
                .env(failpoint::VARIABLE, format!("{point}=exit"))
                .output()
                .unwrap();
            assert_eq!(died.status.code(), Some(failpoint::EXIT_CODE), "{point}: {died:?}");
            lab.replace_agent();
            if client.is_none() {
                lab.ensure(&export).opens();
            }
            for _ in 0..2 {
                assert_eq!(lab.revoke(&export), Revoked::Gone, "{point}");
            }
            assert_eq!(owner(&export), ROOTS, "{point}");
            let files: Vec<_> = fs::read_dir(export.path.parent().unwrap()).unwrap().flatten().collect();
            assert_eq!(files.len(), 1, "{point}: {files:?}");
            if let (Some(client), Some(mut writer)) = (client, writer) {
                client.refusal();
                writer.send("write -P 66 0 4k");
                assert!(writer.fails(PATIENCE), "{point}");
                assert_eq!(content(&export), [1; 4096], "{point}");
            }
        }
    });
}
