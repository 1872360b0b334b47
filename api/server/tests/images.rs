//! Images on their way in: uploads in pieces, URLs, hostile files.
#![expect(clippy::unwrap_used, reason = "helpers of tests may")]

mod kit;

use std::path::PathBuf;

use kit::{Kit, code};
use tepui_client::Client;
use tepui_types::endpoint::*;
use tepui_types::rest::*;
use tepui_types::{Digest, ErrorCode, ImportTaskId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// The smallest thing that passes for a disk: it has a boot sector.
fn disk() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..1_u32 << 20).map(|i| (i / 4096) as u8).collect();
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

fn file(kit: &Kit, bytes: &[u8]) -> PathBuf {
    let path = kit.folder.path().join("disk.img");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn named(name: &str) -> UploadImageRequest {
    UploadImageRequest { name: name.into(), login_user: Some("debian".into()), ..Default::default() }
}

async fn ended(client: &Client, task: ImportTaskId) -> ImportTask {
    let id = task.to_string();
    kit::until(|| async {
        let task = client.call::<ShowImportTask>(&[&id], &Empty {}).await.unwrap();
        (task.state != ImportState::Active).then_some(task)
    })
    .await
}

#[tokio::test]
async fn an_upload_becomes_an_image_named_by_its_content() {
    let kit = Kit::start().await;
    let (admin, bytes) = (kit.admin(), disk());
    let mut last = 0;
    let task = admin
        .upload_image(&file(&kit, &bytes), &named("debian-12"), None, |progress| last = progress.sent)
        .await
        .unwrap();
    assert_eq!(last, bytes.len() as u64);
    let task = ended(&admin, task.id).await;
    assert_eq!(task.state, ImportState::Completed, "{}", task.message);
    let image = admin.call::<ShowImage>(&["debian"], &Empty {}).await.unwrap();
    assert_eq!((image.digest, image.size_bytes), (Digest::of(&bytes), bytes.len() as u64));
    assert_eq!(image.login_user, "debian");
    assert!(kit.config.layout().images().join(image.digest.to_string()).is_file());
    admin.call::<DeleteImage>(&["debian-12"], &Empty {}).await.unwrap();
    assert_eq!(code(admin.call::<ShowImage>(&["debian-12"], &Empty {}).await).0, 404);
}

#[tokio::test]
async fn an_upload_goes_on_where_it_stopped_and_its_completion_can_be_repeated() {
    let kit = Kit::start().await;
    let (admin, bytes) = (kit.admin(), disk());
    let new = CreateImageUploadRequest { size_bytes: bytes.len() as u64, image: named("resumed") };
    let upload = admin.call::<CreateImageUpload>(&[], &new).await.unwrap();
    let half = bytes.len() / 2;
    append(&kit, &upload.id, 0, &bytes[..half]).await;
    assert_eq!(append(&kit, &upload.id, 0, &bytes[..half]).await, 409);
    let shown = admin.call::<ShowImageUpload>(&[&upload.id], &Empty {}).await.unwrap();
    assert_eq!(shown.received_bytes, half as u64);
    let sha256 = CompleteImageUploadRequest { sha256: Digest::of(&bytes) };
    let early = admin.call::<CompleteImageUpload>(&[&upload.id], &sha256).await;
    assert_eq!(code(early), (409, ErrorCode::Conflict));
    let path = file(&kit, &bytes);
    let task = admin.upload_image(&path, &named("resumed"), Some(&upload.id), |_| ()).await.unwrap();
    assert_eq!(ended(&admin, task.id).await.state, ImportState::Completed);
    let again = admin.call::<CompleteImageUpload>(&[&upload.id], &sha256).await.unwrap();
    assert_eq!(again.id, task.id);
}

async fn append(kit: &Kit, upload: &str, offset: usize, bytes: &[u8]) -> u16 {
    let url = format!("{}/v1/image-uploads/{upload}?offset={offset}", kit.url());
    let request = reqwest::Client::new().put(url).bearer_auth(&kit.first.token).body(bytes.to_vec());
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn bytes_that_are_not_those_announced_are_refused_and_removed() {
    let kit = Kit::start().await;
    let admin = kit.admin();
    let new = CreateImageUploadRequest { size_bytes: 4, image: named("wrong") };
    let upload = admin.call::<CreateImageUpload>(&[], &new).await.unwrap();
    assert_eq!(append(&kit, &upload.id, 0, b"12345").await, 413);
    assert_eq!(append(&kit, &upload.id, 0, b"1234").await, 200);
    let wrong = CompleteImageUploadRequest { sha256: Digest::of(b"other") };
    let task = admin.call::<CompleteImageUpload>(&[&upload.id], &wrong).await.unwrap();
    let task = ended(&admin, task.id).await;
    assert_eq!(task.state, ImportState::Failed);
    assert!(task.message.contains("sha256"), "{}", task.message);
    assert!(!kit.config.layout().uploads().join(&upload.id).join("data").exists());
}

#[tokio::test]
async fn a_completion_repeated_while_its_import_runs_is_answered_with_the_same_task() {
    let kit = Kit::start().await;
    let (admin, bytes) = (kit.admin(), disk());
    let new = CreateImageUploadRequest { size_bytes: bytes.len() as u64, image: named("repeated") };
    let upload = admin.call::<CreateImageUpload>(&[], &new).await.unwrap();
    append(&kit, &upload.id, 0, &bytes).await;
    let sha256 = CompleteImageUploadRequest { sha256: Digest::of(&bytes) };
    let task = admin.call::<CompleteImageUpload>(&[&upload.id], &sha256).await.unwrap();
    for _ in 0..10 {
        let again = admin.call::<CompleteImageUpload>(&[&upload.id], &sha256).await.unwrap();
        assert_eq!(again.id, task.id);
    }
    assert_eq!(ended(&admin, task.id).await.state, ImportState::Completed);
}

#[tokio::test]
async fn a_rehearsal_of_an_upload_writes_nothing() {
    let kit = Kit::start().await;
    let admin = kit.admin();
    let new = CreateImageUploadRequest { size_bytes: 4, image: named("rehearsed") };
    let upload = admin.call::<CreateImageUpload>(&[], &new).await.unwrap();
    let url = format!("{}/v1/image-uploads/{}", kit.url(), upload.id);
    let rehearse = async |request: reqwest::RequestBuilder| {
        let request = request.bearer_auth(&kit.first.token).header(DRY_RUN_HEADER, "true");
        request.send().await.unwrap().status().as_u16()
    };
    let http = reqwest::Client::new();
    assert_eq!(rehearse(http.put(format!("{url}?offset=0")).body("1234")).await, 204);
    let shown = admin.call::<ShowImageUpload>(&[&upload.id], &Empty {}).await.unwrap();
    assert_eq!(shown.received_bytes, 0);
    assert_eq!(append(&kit, &upload.id, 0, b"1234").await, 200);
    let wrong = CompleteImageUploadRequest { sha256: Digest::of(b"other") };
    assert_eq!(rehearse(http.post(format!("{url}/complete")).json(&wrong)).await, 204);
    let shown = admin.call::<ShowImageUpload>(&[&upload.id], &Empty {}).await.unwrap();
    assert_eq!(shown.received_bytes, 4);
    assert!(admin.call::<ListImportTasks>(&[], &Empty {}).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn an_upload_of_another_project_or_with_a_path_for_an_id_does_not_exist() {
    let kit = Kit::start().await;
    let (mia, tom) = (kit.member("mia").await, kit.member("tom").await);
    let new = CreateImageUploadRequest { size_bytes: 4, image: named("mias") };
    let upload = mia.call::<CreateImageUpload>(&[], &new).await.unwrap();
    for id in [upload.id.as_str(), "../../secrets.key", "upload-.."] {
        assert_eq!(code(tom.call::<ShowImageUpload>(&[id], &Empty {}).await).0, 404, "{id}");
        assert_eq!(code(tom.call::<DeleteImageUpload>(&[id], &Empty {}).await).0, 404, "{id}");
    }
    mia.call::<DeleteImageUpload>(&[&upload.id], &Empty {}).await.unwrap();
    let public =
        CreateImageUploadRequest { size_bytes: 4, image: UploadImageRequest { public: true, ..named("p") } };
    assert_eq!(code(mia.call::<CreateImageUpload>(&[], &public).await).0, 403);
}

#[tokio::test]
async fn a_file_that_is_no_disk_ends_as_a_failed_task_that_names_the_rule() {
    let kit = Kit::start().await;
    let url = format!("{}/v1/images?name=text", kit.url());
    let request = reqwest::Client::new().post(url).bearer_auth(&kit.first.token).body(vec![b'x'; 4096]);
    let task: ImportTask = request.send().await.unwrap().json().await.unwrap();
    let task = ended(&kit.admin(), task.id).await;
    assert_eq!(task.state, ImportState::Failed);
    assert!(task.message.contains("boot sector"), "{}", task.message);
    assert_eq!(std::fs::read_dir(kit.config.layout().images()).unwrap().count(), 0);
}

/// A web server that gives `bytes` to every request.
async fn web(bytes: Vec<u8>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len());
            let _ = stream.write_all(&[head.as_bytes(), &bytes].concat()).await;
        }
    });
    format!("http://user:secret@{address}/disk.img")
}

#[tokio::test]
async fn a_url_is_fetched_where_the_operator_allows_its_address() {
    let kit = Kit::start().await;
    let (admin, url) = (kit.admin(), web(disk()).await);
    let import = ImportImageRequest { name: "fetched".into(), url, ..ImportImageRequest::default() };
    let task = admin.call::<ImportImage>(&[], &import).await.unwrap();
    assert!(!task.source.contains("secret"), "{}", task.source);
    let task = ended(&admin, task.id).await;
    assert_eq!(task.state, ImportState::Completed, "{}", task.message);
    let file =
        ImportImageRequest { name: "f".into(), url: "file:///etc/passwd".into(), ..Default::default() };
    assert_eq!(code(admin.call::<ImportImage>(&[], &file).await), (400, ErrorCode::InvalidInput));
}

#[tokio::test]
async fn a_url_into_the_operators_own_network_is_refused() {
    let kit = Kit::start_with(|config| config.images.allow_private_urls = false).await;
    let (admin, url) = (kit.admin(), web(disk()).await);
    let import = ImportImageRequest { name: "inner".into(), url, ..ImportImageRequest::default() };
    let task = admin.call::<ImportImage>(&[], &import).await.unwrap();
    let task = ended(&admin, task.id).await;
    assert_eq!(task.state, ImportState::Failed);
    assert!(task.message.contains("no public address"), "{}", task.message);
}

/// A web server that gives half of `bytes` and then nothing more to its first client, and to others
/// what they ask for. Tells the ranges that it was asked for.
async fn slow_web(bytes: Vec<u8>) -> (String, mpsc::UnboundedReceiver<Option<usize>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut first = None;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]).to_ascii_lowercase();
            let range = request.split("range: bytes=").nth(1).and_then(|rest| rest.split('-').next());
            let from: Option<usize> = range.map(|from| from.parse().unwrap());
            let (begin, end) = (from.unwrap_or(0), bytes.len());
            let status = match from {
                Some(_) => format!("206 Partial Content\r\ncontent-range: bytes {begin}-{}/{end}", end - 1),
                None => "200 OK".to_owned(),
            };
            let head =
                format!("HTTP/1.1 {status}\r\netag: \"v1\"\r\ncontent-length: {}\r\n\r\n", end - begin);
            let sent = if first.is_none() { &bytes[..end / 2] } else { &bytes[begin..] };
            let _ = stream.write_all(&[head.as_bytes(), sent].concat()).await;
            first.get_or_insert(stream);
            tell.send(from).unwrap();
        }
    });
    (format!("http://user:secret@{address}/disk.img"), told)
}

/// An import from a URL of which half is here when its server is shut down.
async fn half_fetched(
    kit: Kit,
    url: String,
) -> (tempfile::TempDir, tepui_server::Config, String, ImportTaskId) {
    let import = ImportImageRequest { name: "fetched".into(), url, ..ImportImageRequest::default() };
    let task = kit.admin().call::<ImportImage>(&[], &import).await.unwrap().id;
    let folder = kit.config.layout().downloads().join(task.to_string());
    let half = disk().len() as u64 / 2;
    kit::until(async || {
        let length = std::fs::metadata(folder.join("image")).map(|file| file.len());
        (length.ok()? == half).then_some(())
    })
    .await;
    let order = std::fs::metadata(folder.join("order.json")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&order) & 0o777, 0o600, "it has credentials");
    let Kit { folder, config, first, server } = kit;
    server.shutdown().await;
    (folder, config, first.token, task)
}

/// As soon as the one before has let go of the database.
async fn restarted(config: &tepui_server::Config) -> tepui_server::RunningServer {
    kit::until(async || tepui_server::Server::start(config).await.ok()).await
}

#[tokio::test]
async fn a_download_survives_a_restart_and_goes_on_where_it_was() {
    let (url, mut asked) = slow_web(disk()).await;
    let (_folder, config, token, task) = half_fetched(Kit::start().await, url).await;
    let server = restarted(&config).await;
    let admin = Client::new(&format!("http://{}", server.public_addr), &token, None).unwrap();
    let task = ended(&admin, task).await;
    assert_eq!(task.state, ImportState::Completed, "{}", task.message);
    let image = admin.call::<ShowImage>(&["fetched"], &Empty {}).await.unwrap();
    assert_eq!(image.digest, Digest::of(&disk()));
    assert_eq!(asked.recv().await, Some(None));
    assert!(asked.recv().await.unwrap().is_some(), "only the rest was asked for");
    let left = async || (std::fs::read_dir(config.layout().downloads()).unwrap().count() == 0).then_some(());
    kit::until(left).await;
}

#[tokio::test]
async fn a_download_without_its_order_fails_at_a_restart_and_leaves_nothing() {
    let (url, _asked) = slow_web(disk()).await;
    let (_folder, config, token, task) = half_fetched(Kit::start().await, url).await;
    let downloads = config.layout().downloads();
    std::fs::write(downloads.join(task.to_string()).join("order.json"), "{").unwrap();
    let server = restarted(&config).await;
    let admin = Client::new(&format!("http://{}", server.public_addr), &token, None).unwrap();
    let task = ended(&admin, task).await;
    assert!(task.message.contains("import again"), "{}", task.message);
    assert_eq!(std::fs::read_dir(downloads).unwrap().count(), 0);
}
