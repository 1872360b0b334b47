//! `tepui-accept-loop`: accepts TLS connections with the clients' certificates verified, and holds them.
//! It shakes the same hands as the control plane and does nothing else: the rival of its reconnects.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;

/// More than the kernel's own bound, which then holds.
const BACKLOG: u32 = 1 << 16;

/// Accepts and holds connections of agents until it is ended.
#[derive(Parser)]
#[command(name = "tepui-accept-loop", version)]
struct Arguments {
    /// Where.
    #[arg(long)]
    listen: SocketAddr,
    /// The cloud's authority, which the agents trust, as PEM.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// Its key, as PEM.
    #[arg(long, value_name = "FILE")]
    ca_key: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let acceptor = TlsAcceptor::from(Arc::new(tls(&arguments)?));
    let listener = listen(arguments.listen)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(hold(acceptor.clone(), stream));
    }
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address).with_context(|| address.to_string())?;
    Ok(socket.listen(BACKLOG)?)
}

async fn hold(acceptor: TlsAcceptor, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut buffer = [0; 64];
    while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
}

/// As the agents' listener of the control plane: its own certificate of the authority, and the clients'
/// verified against it.
fn tls(arguments: &Arguments) -> anyhow::Result<ServerConfig> {
    let read = |path: &PathBuf| fs::read_to_string(path).with_context(|| path.display().to_string());
    let ca = CertificateDer::from_pem_slice(read(&arguments.ca)?.as_bytes())?;
    let issuer = Issuer::from_ca_cert_der(&ca, KeyPair::from_pem(&read(&arguments.ca_key)?)?)?;
    let key = KeyPair::generate()?;
    let certificate =
        CertificateParams::new(vec![arguments.listen.ip().to_string()])?.signed_by(&key, &issuer)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone())?;
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    Ok(ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate.der().clone(), ca.clone()], private)?)
}
