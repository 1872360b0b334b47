//! Volumes opened on the host itself.

mod support;

use std::fs::{self, File};
use std::time::Duration;

use support::lab::export;
use tepui_storage::{Access, Backend as _, ExportError, Local, Revoked, Source};

#[tokio::test]
async fn a_file_is_gone_from_its_host_once_no_process_has_it_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.raw");
    fs::write(&path, [0; 4096]).unwrap();
    let first = export(path.clone(), 1, Access::ReadWrite);
    let local = Local::default();
    assert!(local.recover(std::slice::from_ref(&first)).await.unwrap().is_empty());
    assert_eq!(local.ensure(&first).await.unwrap(), Source::File { path: path.clone() });
    assert!(local.list().await.unwrap()[0].connections.is_empty());

    let open = File::open(&path).unwrap();
    let still = local.revoke(first.id, Duration::from_millis(50)).await.unwrap();
    let own = format!("process {} (", std::process::id());
    assert!(matches!(&still, Revoked::StillConnected(peers) if peers[0].peer.starts_with(&own)), "{still:?}");
    assert_eq!(local.list().await.unwrap()[0].connections.len(), 1);
    let second = export(path.clone(), 2, Access::ReadWrite);
    let error = local.ensure(&second).await.unwrap_err();
    assert!(matches!(error, ExportError::Held { .. }), "{error}");

    drop(open);
    assert_eq!(local.revoke(first.id, Duration::ZERO).await.unwrap(), Revoked::Gone);
    assert_eq!(local.revoke(first.id, Duration::ZERO).await.unwrap(), Revoked::Gone);
    local.ensure(&second).await.unwrap();
    let error = local.ensure(&first).await.unwrap_err();
    assert!(matches!(error, ExportError::Held { .. }), "{error}");

    let missing = export(folder.path().join("missing"), 3, Access::ReadWrite);
    let error = local.ensure(&missing).await.unwrap_err();
    assert!(matches!(&error, ExportError::File { path, .. } if *path == missing.path), "{error}");
    assert_eq!(local.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_export_of_a_process_before_is_gone_only_once_nobody_has_its_file_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.raw");
    fs::write(&path, [0; 4096]).unwrap();
    let (first, next) =
        (export(path.clone(), 1, Access::ReadWrite), export(path.clone(), 2, Access::ReadWrite));
    let open = File::open(&path).unwrap();
    let local = Local::default();
    local.take_over(first.id, path).await;
    let still = local.revoke(first.id, Duration::ZERO).await.unwrap();
    assert!(matches!(still, Revoked::StillConnected(_)), "{still:?}");
    assert!(matches!(local.ensure(&next).await, Err(ExportError::Held { .. })));
    drop(open);
    assert_eq!(local.revoke(first.id, Duration::ZERO).await.unwrap(), Revoked::Gone);
    local.ensure(&next).await.unwrap();
}

#[tokio::test]
async fn a_reader_leaves_others_to_read_and_the_last_one_waits_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.raw");
    fs::write(&path, [0; 4096]).unwrap();
    let readers = [1, 2].map(|number| export(path.clone(), number, Access::ReadOnly));
    let writer = export(path.clone(), 3, Access::ReadWrite);
    let local = Local::default();
    for reader in &readers {
        local.ensure(reader).await.unwrap();
    }
    let open = File::open(&path).unwrap();
    assert_eq!(local.revoke(readers[0].id, Duration::ZERO).await.unwrap(), Revoked::Gone);
    assert_eq!(local.list().await.unwrap().len(), 1, "the other stays");
    assert!(matches!(local.ensure(&writer).await, Err(ExportError::Held { .. })));
    let still = local.revoke(readers[1].id, Duration::ZERO).await.unwrap();
    assert!(matches!(still, Revoked::StillConnected(_)), "{still:?}");
    assert!(matches!(local.ensure(&writer).await, Err(ExportError::Held { .. })));
    drop(open);
    assert_eq!(local.revoke(readers[1].id, Duration::ZERO).await.unwrap(), Revoked::Gone);
    local.ensure(&writer).await.unwrap();
}
