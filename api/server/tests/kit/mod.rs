//! A control plane of its own for each test, on loopback ports that the kernel chooses.
#![allow(dead_code, reason = "each test binary uses a part of the kit")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests may")]

pub(crate) mod host;
pub(crate) mod process;
pub(crate) mod signer;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tepui_client::{Client, ClientError};
use tepui_server::{Config, Initialized, RunningServer, Server};
use tepui_types::endpoint::{CreateAccessKey, CreateProject, CreateUser};
use tepui_types::rest::{CreateAccessKeyRequest, CreateProjectRequest, CreateUserRequest};
use tepui_types::{ErrorBody, ErrorCode};

pub(crate) struct Kit {
    pub(crate) folder: TempDir,
    pub(crate) config: Config,
    pub(crate) first: Initialized,
    pub(crate) server: RunningServer,
}

pub(crate) fn config(folder: &Path) -> Config {
    Config::parse(Path::new("api.toml"), &config_text(folder)).unwrap()
}

pub(crate) fn config_text(folder: &Path) -> String {
    format!(
        r#"
        data_dir = "{}"
        region = "tepui-1"
        [public]
        listen = "127.0.0.1:0"
        [agents]
        listen = "127.0.0.1:0"
        names = ["127.0.0.1", "api.tepui.internal"]
        [metrics]
        listen = "127.0.0.1:0"
        [network]
        public_pool = "198.18.0.0/28"
        [images]
        allow_private_urls = true
        "#,
        folder.display()
    )
}

impl Kit {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
        let mut config = config(folder.path());
        change(&mut config);
        let first = tepui_server::init(&config).await.unwrap();
        let server = Server::start(&config).await.unwrap();
        Self { folder, config, first, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.public_addr)
    }

    pub(crate) fn client(&self, token: &str) -> Client {
        Client::new(&self.url(), token, None).unwrap()
    }

    pub(crate) fn admin(&self) -> Client {
        self.client(&self.first.token)
    }

    /// A member with a key for a project of their own.
    pub(crate) async fn member(&self, name: &str) -> Client {
        let admin = self.admin();
        let (user, project) = (Some(name.to_owned()), Some(format!("project-{name}")));
        let new = CreateProjectRequest { name: project.clone().unwrap(), quota: None };
        admin.call::<CreateProject>(&[], &new).await.unwrap();
        let new = CreateUserRequest { name: name.to_owned(), ..CreateUserRequest::default() };
        admin.call::<CreateUser>(&[], &new).await.unwrap();
        let key =
            admin.call::<CreateAccessKey>(&[], &CreateAccessKeyRequest { user, project }).await.unwrap();
        self.client(&key.token)
    }

    /// A member with a key for the administrator's own project.
    pub(crate) async fn colleague(&self, name: &str) -> Client {
        self.member(name).await;
        let request = CreateAccessKeyRequest { user: Some(name.to_owned()), project: None };
        self.client(&self.admin().call::<CreateAccessKey>(&[], &request).await.unwrap().token)
    }
}

/// The refusal that a call must end with.
pub(crate) fn refused<T>(outcome: Result<T, ClientError>) -> (u16, ErrorBody) {
    match outcome {
        Err(ClientError::Refused { status, body }) => (status, *body),
        Err(other) => panic!("not refused but {other:?}"),
        Ok(_) => panic!("not refused"),
    }
}

pub(crate) fn code<T>(outcome: Result<T, ClientError>) -> (u16, ErrorCode) {
    let (status, body) = refused(outcome);
    (status, body.code)
}

/// Asks until there is an answer; a minute is for slow machines.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(mut ask: impl FnMut() -> F) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("the condition holds within a minute")
}
