//! Network namespaces that outlive the process, and work done inside one.
//!
//! A thread belongs to one namespace, so each piece of work gets a thread of its own that enters,
//! works and ends: a thread of the runtime's pool would carry the namespace into unrelated work.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, statfs};
use tokio::task::JoinHandle;

use super::NetworkError;
use super::error::{file, refused};

/// The namespace of the calling thread, as the kernel names it.
const OWN: &str = "/proc/thread-self/ns/net";

/// An open network namespace with a netlink socket inside. The namespace lives on when this is
/// dropped if it is bound to a path.
#[derive(Debug)]
pub(super) struct Namespace {
    file: Arc<File>,
    netlink: rtnetlink::Handle,
    connection: JoinHandle<()>,
}

impl Namespace {
    /// The namespace of the calling thread.
    pub(super) async fn current() -> Result<Self, NetworkError> {
        Self::open(Path::new(OWN)).await
    }

    /// The namespace bound to `path`, made when there is none.
    pub(super) async fn ensure(path: &Path) -> Result<Self, NetworkError> {
        if !is_bound(path) {
            create(path.to_owned()).await?;
        }
        Self::open(path).await
    }

    async fn open(path: &Path) -> Result<Self, NetworkError> {
        let handle = Arc::new(File::open(path).map_err(file(path))?);
        let runtime = tokio::runtime::Handle::current();
        let what = || format!("open a netlink socket in {}", path.display());
        let (connection, netlink, _) = run_in(Arc::clone(&handle), move || {
            let _inside = runtime.enter();
            rtnetlink::new_connection()
        })
        .await
        .flatten()
        .map_err(refused(what))?;
        Ok(Self { file: handle, netlink, connection: tokio::spawn(connection) })
    }

    /// Netlink inside the namespace.
    pub(super) const fn netlink(&self) -> &rtnetlink::Handle {
        &self.netlink
    }

    /// The number by which the kernel tells the namespace from every other that lives.
    pub(super) fn inode(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.ino())
    }

    /// For messages that move a link here.
    pub(super) fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Runs `work` on a thread inside the namespace; processes it starts are inside, too.
    pub(super) async fn run<T, F>(&self, work: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        run_in(Arc::clone(&self.file), work).await
    }

    /// A TCP listener on an address inside.
    pub(super) async fn listen(&self, address: Ipv4Addr, port: u16) -> io::Result<TcpListener> {
        self.run(move || TcpListener::bind(SocketAddrV4::new(address, port))).await.flatten()
    }
}

impl Drop for Namespace {
    /// An open socket would keep a removed namespace alive.
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Unbinds the namespace at `path`. It ends with the last process and socket inside.
pub(super) fn remove(path: &Path) -> Result<(), NetworkError> {
    if is_bound(path) {
        umount2(path, MntFlags::MNT_DETACH).map_err(refused(|| format!("unmount {}", path.display())))?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(path)(error)),
        _ => Ok(()),
    }
}

/// Whether a namespace is bound to `path`. A plain file is what a crash before the mount left.
pub(super) fn is_bound(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.filesystem_type() == NSFS_MAGIC)
}

async fn create(path: PathBuf) -> Result<(), NetworkError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(file(folder))?;
    }
    File::create(&path).map_err(file(&path))?;
    let what = format!("make the network namespace {}", path.display());
    on_thread(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        mount(Some(OWN), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
    })
    .await
    .and_then(|done| done.map_err(io::Error::from))
    .map_err(refused(|| what))
}

async fn run_in<T, F>(namespace: Arc<File>, work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    on_thread(move || {
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
        Ok(work())
    })
    .await
    .flatten()
}

async fn on_thread<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (send, receive) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("netns".into()).spawn(move || {
        // The receiver is gone when the caller was cancelled: the work is done all the same.
        let _ = send.send(work());
    })?;
    receive.await.map_err(|_| io::Error::other("the thread in the namespace panicked"))
}
