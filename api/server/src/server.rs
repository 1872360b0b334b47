//! A running control plane.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use ipnet::Ipv4Net;
use listenfd::ListenFd;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tepui_core::Error;
use tepui_ec2::{Ec2, Ec2Config};
use tepui_marketplace::fetch::AddressPolicy;
use tepui_marketplace::{Converter, ImageStore, Limits, StoreError};
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::body::Room;
use crate::config::{Config, Public};
use crate::downloads::Downloads;
use crate::files::FileError;
use crate::host_threads::HostThreads;
use crate::imports::{Importer, UrlImports};
use crate::listen::Listener;
use crate::metrics::{self, Metrics};
use crate::pki::{PkiError, agents_tls};
use crate::uploads::Uploads;
use crate::wiring::{self, Parts, WiringError};
use crate::{admin, agents, public};

/// Clients of the public surface at once.
const PUBLIC_CONNECTIONS: usize = 4096;
/// Ten thousand agents, some of them with a second connection; below the usual limit of 20,000 files.
const AGENT_CONNECTIONS: usize = 14_000;
/// Connections that wait to be accepted: as many as the kernel allows (`net.core.somaxconn`). After a
/// restart all agents come back within seconds; one that finds no place asks again only after a second.
const BACKLOG: u32 = 1 << 16;
/// Scrapers.
const METRICS_CONNECTIONS: usize = 16;
/// Time for changes under way to end at a shutdown, after their connections are gone; what is not
/// committed by then is as a crash would leave it.
const CHANGES_TIMEOUT: Duration = Duration::from_secs(20);
/// How often forgotten uploads, consoles and unused images are looked for.
const TIDY_EVERY: Duration = Duration::from_secs(3600);

/// Why a control plane does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Files, keys or the database.
    #[error(transparent)]
    Wiring(#[from] WiringError),
    /// A folder under `data_dir`.
    #[error(transparent)]
    File(#[from] FileError),
    /// The image store.
    #[error(transparent)]
    Images(#[from] StoreError),
    /// An address is taken or not this machine's.
    #[error("cannot listen on {field} = \"{address}\"")]
    Listen {
        /// The field of the configuration.
        field: &'static str,
        /// Its value.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A host that joined before has an address of the pool.
    #[error(
        "network.public_pool = \"{pool}\": must not hold the address of a host, and {node} has {address}"
    )]
    PublicPool {
        /// The pool.
        pool: Ipv4Net,
        /// The host's name.
        node: String,
        /// Its address.
        address: Ipv4Addr,
    },
    /// The public certificate or its key cannot be read.
    #[error("cannot read {}", path.display())]
    PublicCertificate {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The public certificate and its key do not fit together.
    #[error("public.certificate and public.key cannot be used")]
    PublicTls(#[source] rustls::Error),
    /// The agents' TLS.
    #[error(transparent)]
    AgentsTls(#[from] PkiError),
    /// The hosts' threads.
    #[error("cannot start the hosts' threads")]
    Threads(#[source] io::Error),
    /// The books.
    #[error("cannot tidy up after the last run")]
    Domain(#[from] Error),
}

/// Starts control planes.
pub struct Server;

/// A control plane that answers.
pub struct RunningServer {
    /// EC2 and REST.
    pub public_addr: SocketAddr,
    /// Agents.
    pub agents_addr: SocketAddr,
    /// Metrics.
    pub metrics_addr: SocketAddr,
    app: Arc<App>,
    tasks: TaskTracker,
    hosts: HostThreads,
}

impl Server {
    /// Starts a control plane whose `data_dir` was initialized; ports may be 0. It answers when this
    /// returns.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub async fn start(config: &Config) -> Result<RunningServer, StartError> {
        // Downloads take their cryptography from the process, where a program may have put its own.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let public = public_listener(&config.public)?;
        let agents = agents_listener(config)?;
        let metrics = bind("metrics.listen", config.metrics.listen)?;
        let metrics = Listener::new("metrics", metrics, METRICS_CONNECTIONS);
        let address = |listener: &Listener, field| {
            let unknown = |source| StartError::Listen { field, address: String::new(), source };
            listener.address().map_err(unknown)
        };
        let public_addr = address(&public, "public.listen")?;
        let agents_addr = address(&agents, "agents.listen")?;
        let metrics_addr = address(&metrics, "metrics.listen")?;
        let parts = wiring::open(config, false)?;
        check_pool(config, &parts).await?;
        let tls = agents_tls(
            Arc::clone(&parts.authority),
            &config.agents.names,
            Arc::clone(&parts.clock),
            Arc::clone(&parts.entropy),
        )?;
        let agents = agents.with_tls(TlsAcceptor::from(Arc::new(tls)));
        let app = Arc::new(wire(config, parts, public_addr)?);
        app.importer.resume().await?;
        let hosts = HostThreads::start().map_err(StartError::Threads)?;
        let tasks = TaskTracker::new();
        let running = RunningServer { public_addr, agents_addr, metrics_addr, app, tasks, hosts };
        running.spawn(public, agents, metrics, config)?;
        Ok(running)
    }
}

async fn check_pool(config: &Config, parts: &Parts) -> Result<(), StartError> {
    let Some(pool) = config.network.public_pool else { return Ok(()) };
    match parts.cloud.node_in_public_pool().await? {
        Some((node, address)) => Err(StartError::PublicPool { pool, node, address }),
        None => Ok(()),
    }
}

impl RunningServer {
    fn spawn(
        &self,
        public: Listener,
        agents: Listener,
        metrics: Listener,
        config: &Config,
    ) -> Result<(), StartError> {
        let (app, stop) = (&self.app, &self.app.stop);
        let scrape = Router::new().route("/metrics", get(metrics::serve)).with_state(Arc::clone(app));
        self.tasks.spawn(public.serve(public::router(Arc::clone(app)), stop.clone()));
        self.tasks.spawn_on(agents.serve(agents::router(Arc::clone(app)), stop.clone()), self.hosts.handle());
        self.tasks.spawn(metrics.serve(scrape, stop.clone()));
        self.tasks.spawn(admin::serve(&config.layout().admin_socket(), Arc::clone(&app.db), stop.clone())?);
        self.tasks.spawn(tidy(Arc::clone(app)));
        self.tasks.spawn(check_pages(Arc::clone(app)));
        let (cloud, cancel) = (Arc::clone(&app.cloud), stop.clone());
        self.tasks.spawn(async move { cloud.run_reconcilers(cancel).await });
        Ok(())
    }

    /// Takes no more requests, lets those under way end, for a while, and closes the database.
    pub async fn shutdown(self) {
        self.app.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.app.changes.close();
        if tokio::time::timeout(CHANGES_TIMEOUT, self.app.changes.wait()).await.is_err() {
            tracing::warn!(count = self.app.changes.len(), "changes still under way are cut off");
        }
        self.hosts.end().await;
        self.app.cloud.flush_audit().await;
    }
}

fn wire(config: &Config, parts: Parts, public_addr: SocketAddr) -> Result<App, StartError> {
    let layout = config.layout();
    let converter = Converter::new(converter_program(config));
    let store = ImageStore::open(layout.images(), converter)?;
    let policy = match config.images.allow_private_urls {
        true => AddressPolicy::Any,
        false => AddressPolicy::PublicOnly,
    };
    let Parts { cloud, db, authority, identity_pem, clock, entropy } = parts;
    let (downloads, stop) = (Downloads::open(layout.downloads())?, CancellationToken::new());
    let importer = Arc::new(Importer::new(Arc::clone(&cloud), store, policy, downloads, stop.clone()));
    let largest = Limits::default().max_stored_bytes;
    let uploads = Uploads::open(layout.uploads(), largest, Arc::clone(&clock), Arc::clone(&entropy))?;
    let imports = Arc::new(UrlImports { importer: Arc::clone(&importer) });
    let endpoint = config.public.endpoint.clone().unwrap_or_else(|| public_addr.to_string());
    let ec2 = Ec2::new(Arc::clone(&cloud), Ec2Config { endpoint, imports });
    Ok(App {
        ec2,
        cloud,
        metrics: Arc::new(Metrics::new(Arc::clone(&db))),
        db,
        clock,
        entropy,
        authority,
        identity_pem,
        importer,
        uploads: Arc::new(uploads),
        room: Room::default(),
        changes: TaskTracker::new(),
        stop,
    })
}

fn converter_program(config: &Config) -> PathBuf {
    const NAME: &str = "tepui-image-convert";
    let beside = || std::env::current_exe().ok()?.parent().map(|folder| folder.join(NAME));
    config.images.converter.clone().or_else(beside).unwrap_or_else(|| NAME.into())
}

fn bind(field: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let failed = |source| StartError::Listen { field, address: address.to_string(), source };
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(failed)
}

fn public_listener(config: &Public) -> Result<Listener, StartError> {
    let listener = Listener::new("public", bind("public.listen", config.listen)?, PUBLIC_CONNECTIONS);
    let (Some(certificate), Some(key)) = (&config.certificate, &config.key) else { return Ok(listener) };
    let unreadable = |path: &PathBuf| {
        let path = path.clone();
        move |source| StartError::PublicCertificate { path, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate).map_err(unreadable(certificate))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(unreadable(certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(StartError::PublicTls)?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(listener.with_tls(TlsAcceptor::from(Arc::new(tls))))
}

/// Either an address of our own or the first socket that the service manager opened for us.
fn agents_listener(config: &Config) -> Result<Listener, StartError> {
    let socket = match config.agents.listen {
        Some(address) => bind("agents.listen", address)?,
        None => inherited().map_err(|source| StartError::Listen {
            field: "agents.socket",
            address: "systemd".into(),
            source,
        })?,
    };
    Ok(Listener::new("agents", socket, AGENT_CONNECTIONS))
}

fn inherited() -> io::Result<TcpListener> {
    let socket = ListenFd::from_env().take_tcp_listener(0)?;
    let socket = socket.ok_or_else(|| io::Error::other("LISTEN_FDS names no socket"))?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

/// Looks for damage in the whole database, which ends the process, beside the first requests: a large one
/// takes longer to read than they can wait.
async fn check_pages(app: Arc<App>) {
    let stop = app.stop.clone();
    match app.db.check_pages(move || stop.is_cancelled()).await {
        Ok(()) => tracing::debug!("the database's pages are sound"),
        Err(_) if app.stop.is_cancelled() => {}
        Err(error) => tracing::warn!(%error, "cannot look at the database's pages"),
    }
}

/// Removes what nobody needs, now and every hour.
async fn tidy(app: Arc<App>) {
    let mut ticks = tokio::time::interval(TIDY_EVERY);
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let uploads = Arc::clone(&app.uploads);
        match tokio::task::spawn_blocking(move || uploads.sweep()).await.map_err(io::Error::from) {
            Ok(Ok(count)) => tracing::debug!(count, "forgotten uploads removed"),
            Ok(Err(error)) => tracing::warn!(%error, "cannot remove forgotten uploads"),
            Err(error) => tracing::warn!(%error, "cannot remove forgotten uploads"),
        }
        match app.cloud.sweep_consoles().await {
            Ok(count) => tracing::debug!(count, "consoles of what is gone removed"),
            Err(error) => tracing::warn!(%error, "cannot remove consoles of what is gone"),
        }
        match app.importer.remove_unused().await {
            Ok(count) => tracing::debug!(count, "unused images removed"),
            Err(reason) => tracing::warn!(reason, "cannot remove unused images"),
        }
    }
}
