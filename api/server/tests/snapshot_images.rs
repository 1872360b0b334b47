//! Files that are uploaded and become snapshots, with a host that is this test.
#![expect(clippy::unwrap_used, reason = "helpers of tests may")]

mod kit;

use kit::host::{host, pool, tell, url};
use kit::{Kit, code, until};
use reqwest::StatusCode;
use tepui_client::Client;
use tepui_types::agent::{PoolObserved, PoolState, SnapshotObserved, StorageObserved, StoredState};
use tepui_types::endpoint::{DeleteImage, ShowImage, ShowImportTask, ShowSnapshot, SnapshotImage};
use tepui_types::rest::{
    Empty, Image, ImportState, SnapshotImageRequest, SnapshotState, UploadContent, UploadImageRequest,
};
use tepui_types::{Digest, PoolId};

fn ready(pool: PoolId) -> StorageObserved {
    let state = PoolState::Ready { total_bytes: 100 << 30, used_bytes: 1 << 30 };
    StorageObserved { pools: vec![PoolObserved { id: pool, state }], ..StorageObserved::default() }
}

/// The import of a file of these bytes: its image, or why it was refused.
async fn imported(kit: &Kit, client: &Client, bytes: &[u8], content: UploadContent) -> Result<Image, String> {
    let file = kit.folder.path().join("data.raw");
    std::fs::write(&file, bytes).unwrap();
    let request = UploadImageRequest { name: "uploaded".into(), content, ..UploadImageRequest::default() };
    let id = client.upload_image(&file, &request, None, |_| ()).await.unwrap().id.to_string();
    let ended = async || {
        let task = client.call::<ShowImportTask>(&[&id], &Empty {}).await.unwrap();
        (task.state != ImportState::Active).then_some(task)
    };
    let task = until(ended).await;
    match task.state {
        ImportState::Failed => Err(task.message),
        ImportState::Active | ImportState::Completed => {
            Ok(client.call::<ShowImage>(&["uploaded"], &Empty {}).await.unwrap())
        }
    }
}

#[tokio::test]
async fn every_disk_that_was_downloaded_is_taken_with_the_same_bytes() {
    let kit = Kit::start().await;
    let admin = kit.admin();
    for begins in [&b""[..], b"QFI\xfb\0\0\0\x03", b"KDMV", b"{", b"\x1f\x8b"] {
        // No boot sector; what a guest wrote to its disk.
        let mut bytes = vec![0; 64 << 10];
        bytes[..begins.len()].copy_from_slice(begins);
        bytes[40 << 10] = 7;
        let image = imported(&kit, &admin, &bytes, UploadContent::Raw).await.unwrap();
        assert_eq!((image.digest, image.size_bytes), (Digest::of(&bytes), bytes.len() as u64));
        let stored = kit.config.layout().images().join(image.digest.to_string());
        assert!(std::fs::read(stored).unwrap() == bytes, "{begins:?}");
        admin.call::<DeleteImage>(&["uploaded"], &Empty {}).await.unwrap();
        let usual = imported(&kit, &admin, &bytes, UploadContent::Bootable).await;
        assert!(usual.is_err(), "an image must boot, or be qcow2: {usual:?}");
        match begins {
            b"" => {
                imported(&kit, &admin, &bytes, UploadContent::Data).await.unwrap();
                admin.call::<DeleteImage>(&["uploaded"], &Empty {}).await.unwrap();
            }
            _ => drop(imported(&kit, &admin, &bytes, UploadContent::Data).await.unwrap_err()),
        }
    }
    let cut_off = imported(&kit, &admin, &[1; 700], UploadContent::Raw).await.unwrap_err();
    assert_eq!(cut_off, "the file has 700 bytes; a raw disk has whole sectors of 512");
}

#[tokio::test]
async fn a_snapshot_is_made_of_an_image_whose_bytes_its_host_is_given_until_it_is_there() {
    let kit = Kit::start().await;
    let (agent, admin) = (host(&kit).await, kit.admin());
    let pool = pool(&kit, "node-1", "fast", "gp3").await;
    tell(&kit, &agent, 2, &[], Some(ready(pool.id))).await;
    let image = imported(&kit, &admin, &[5; 4096], UploadContent::Raw).await.unwrap();
    let path = url(&kit, &format!("/agent/v1/images/{}", image.digest));
    let fetch = async || agent.get(&path).send().await.unwrap();
    assert_eq!(fetch().await.status(), StatusCode::NOT_FOUND, "nothing on this host needs it");

    let to = |class: Option<&str>, pool: Option<&str>| SnapshotImageRequest {
        class: class.map(Into::into),
        pool: pool.map(Into::into),
        name: Some("back".into()),
        ..SnapshotImageRequest::default()
    };
    let make = async |client: &Client, request| client.call::<SnapshotImage>(&["uploaded"], &request).await;
    assert_eq!(code(make(&admin, to(Some("gp3"), Some("fast"))).await).0, 400);
    assert_eq!(code(make(&admin, to(None, Some("slow"))).await).0, 404);
    assert_eq!(code(make(&admin, to(Some("golden"), None)).await).0, 404);
    let stranger = kit.member("tom").await;
    let foreign = stranger.call::<SnapshotImage>(&[&image.id.to_string()], &to(None, None)).await;
    assert_eq!(code(foreign).0, 404);
    let colleague = kit.colleague("mia").await;
    assert_eq!(code(make(&colleague, to(None, Some("fast"))).await).0, 403);
    let made = make(&colleague, to(None, None)).await.unwrap();
    assert_eq!((made.volume_id, made.copy_of, made.image), (None, None, Some(image.digest)));
    assert_eq!((made.name.as_deref(), made.size_gib, made.state), (Some("back"), 1, SnapshotState::Pending));

    admin.call::<DeleteImage>(&["uploaded"], &Empty {}).await.unwrap();
    assert!(fetch().await.bytes().await.unwrap() == [5; 4096][..]);
    let there = StoredState::Present { size_bytes: 1 << 30 };
    let snapshots = vec![SnapshotObserved { id: made.id, state: there }];
    tell(&kit, &agent, 3, &[], Some(StorageObserved { snapshots, ..ready(pool.id) })).await;
    let shown = admin.call::<ShowSnapshot>(&["back"], &Empty {}).await.unwrap();
    assert_eq!(shown.state, SnapshotState::Completed);
    assert_eq!(fetch().await.status(), StatusCode::NOT_FOUND);
}
