//! Backups of a running control plane, and their return.

mod kit;

use kit::{Kit, code};
use tepui_server::Server;
use tepui_types::endpoint::{CreateProject, ShowProject, Whoami};
use tepui_types::rest::{CreateProjectRequest, Empty};

#[tokio::test]
async fn a_restore_brings_back_what_was_and_begins_an_epoch_later_than_all_before() {
    let kit = Kit::start().await;
    let file = kit.folder.path().join("backup.sqlite3");
    tepui_server::backup(&kit.config, &file).await.unwrap();
    let later = CreateProjectRequest { name: "later".into(), quota: None };
    kit.admin().call::<CreateProject>(&[], &later).await.unwrap();
    assert!(tepui_server::restore(&kit.config, &file).await.is_err(), "the server runs");
    let Kit { folder: _folder, config, first, server } = kit;
    server.shutdown().await;
    let once = tepui_server::restore(&config, &file).await.unwrap();
    let twice = tepui_server::restore(&config, &file).await.unwrap();
    assert!(twice > once);
    let server = Server::start(&config).await.unwrap();
    let url = format!("http://{}", server.public_addr);
    let client = tepui_client::Client::new(&url, &first.token, None).unwrap();
    assert_eq!(code(client.call::<ShowProject>(&["later"], &Empty {}).await).0, 404);
    assert_eq!(client.call::<Whoami>(&[], &Empty {}).await.unwrap().epoch, twice);
    server.shutdown().await;
}

#[tokio::test]
async fn a_stopped_control_plane_is_backed_up_too_and_a_relative_path_is_refused() {
    let kit = Kit::start().await;
    let Kit { folder, config, server, .. } = kit;
    server.shutdown().await;
    let file = folder.path().join("backup.sqlite3");
    tepui_server::backup(&config, &file).await.unwrap();
    assert!(file.metadata().unwrap().len() > 0);
    assert!(tepui_server::backup(&config, "backup".as_ref()).await.is_err());
}

#[tokio::test]
async fn init_repeated_gives_the_same_answer() {
    let folder = tempfile::tempdir().unwrap();
    let config = kit::config(folder.path());
    assert!(Server::start(&config).await.is_err(), "not initialized");
    let once = serde_json::to_value(tepui_server::init(&config).await.unwrap()).unwrap();
    let twice = serde_json::to_value(tepui_server::init(&config).await.unwrap()).unwrap();
    assert_eq!(once, twice);
}
