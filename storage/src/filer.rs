//! Volumes on a filer that is there already: an NFS server that is not ours, whose folder the pool's host has mounted.
//!
//! ```text
//!   ensure: given                      revoke: shut ─ cloned ─ replaced
//!             └ from here on open                                  └ from here on no handle of it leads to the volume
//! ```
//! Nothing on a filer can be told to drop an export, and it knows hosts alone. So it is the file that changes: an export is
//! a user of its own to whom the file belongs. When it ends the file is taken from him, and then a clone takes the file's
//! place: handles of NFS 3 are of the file and not of its name (RFC 1813, 2.5), so that a write which the filer had let
//! pass before, and carries out whenever it likes, lands in the old file, which nothing refers to. To open the new one
//! he would have to be its user. Who may say which user he is, the filer decides by the address of his host.
//!
//! What is open stands in the owner of the file, on the filer itself, and outlives the agent and its host.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tempfile::TempDir;
use tepui_types::{ExportId, VolumeId, failpoint};
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::task;
use tokio::time::timeout;

use crate::export::{Known, all, refuse_second};
use crate::pool::{MARKER, TMP};
use crate::volume::MODE;
use crate::{Access, Backend, Export, ExportError, Found, Revoked, Source, durable, reflink};

/// The fail points of each operation, as `storage::OPERATION::STEP`; each stands behind the step it names.
pub const STEPS: &[(&str, &[&str])] =
    &[("filer_export", &["given"]), ("filer_revoke", &["shut", "cloned", "replaced"])];

/// Users from here on are exports', of writers and readers: two to the thirtieth of them, which every server and client
/// can carry, above all that systems give to people.
const FIRST_USER: u32 = 1 << 30;
/// The file is its owner's, who writes it.
const WRITTEN: u32 = MODE;
/// The file is root's, and its group reads it.
const READ: u32 = 0o640;
/// Somebody to whom nothing belongs; anybody may read the pool's marker.
const NOBODY: u32 = 65534;
/// A filer that answers takes milliseconds.
const ANSWER: Duration = Duration::from_secs(10);

/// Where compute hosts find what the pool's host has mounted.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The filer.
    pub server: Ipv4Addr,
    /// The pool's folder as the filer names it.
    pub folder: PathBuf,
    /// The pool's folder on this host.
    pub pool: PathBuf,
}

/// Why a filer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilerError {
    /// QEMU's client does not find the pool there.
    #[error("{server} does not serve the pool at {}: {reason}", folder.display())]
    Unserved {
        /// The filer.
        server: Ipv4Addr,
        /// Where on it.
        folder: PathBuf,
        /// What the client says.
        reason: String,
    },
    /// The client cannot be run.
    #[error("cannot execute qemu-img (Debian packages qemu-utils and qemu-block-extra)")]
    Client(#[source] io::Error),
    /// This host, as root, cannot make a file there that is another user's.
    #[error("the filer does not let root of this host give a file to a user")]
    Probe(#[source] io::Error),
    /// The process ends.
    #[error("the agent ends")]
    Stopped,
}

/// A file with the content of the pool's marker, which belongs to the first of the users.
struct Probe {
    path: PathBuf,
    _folder: TempDir,
}

impl Probe {
    fn make(pool: &Path) -> io::Result<Self> {
        let folder = TempDir::new_in(pool.join(TMP))?;
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711))?;
        let path = folder.path().join("probe");
        fs::copy(pool.join(MARKER), &path)?;
        fs::set_permissions(&path, Permissions::from_mode(WRITTEN))?;
        chown(&path, Some(FIRST_USER), Some(0))?;
        let found = fs::metadata(&path)?;
        let (owner, mode) = (found.uid(), found.mode() & 0o777);
        if (owner, mode) == (FIRST_USER, WRITTEN) {
            return Ok(Self { path, _folder: folder });
        }
        Err(io::Error::other(format!("it belongs to the user {owner} with mode {mode:o} then")))
    }
}

/// The backend of one pool. It knows its exports from its caller alone, and what became of them from their files.
#[derive(Debug)]
pub struct Filer {
    settings: Settings,
    exports: Mutex<Known>,
}

impl Filer {
    /// A backend of the pool of `settings`.
    pub fn new(settings: Settings) -> Self {
        Self { settings, exports: Mutex::default() }
    }

    /// Looks, as a guest's QEMU would, whether the filer serves the very folder that is mounted here, lets the user in to
    /// whom a file belongs, and nobody else.
    ///
    /// # Errors
    /// It does not, or does not answer.
    pub async fn check(&self) -> Result<(), FilerError> {
        let pool = self.settings.pool.clone();
        if let Some(reason) = self.refusal(&pool.join(MARKER), NOBODY).await? {
            return Err(self.unserved(reason));
        }
        let probe = task::spawn_blocking(move || Probe::make(&pool)).await;
        let probe = probe.map_err(|_| FilerError::Stopped)?.map_err(FilerError::Probe)?;
        if let Some(reason) = self.refusal(&probe.path, FIRST_USER).await? {
            return Err(self.unserved(format!("it refuses a file to the user to whom it belongs: {reason}")));
        }
        if self.refusal(&probe.path, NOBODY).await?.is_none() {
            return Err(self.unserved("it lets everybody read the file of one user".into()));
        }
        Ok(())
    }

    /// Why a client that says it is this user does not read on the filer what a file has here, if so.
    async fn refusal(&self, file: &Path, user: u32) -> Result<Option<String>, FilerError> {
        let Settings { server, .. } = &self.settings;
        let served = json!({ "driver": "raw", "file": {
            "driver": "nfs", "server": { "type": "inet", "host": server.to_string() },
            "path": self.on_filer(file).unwrap_or_default(), "user": user, "group": user,
        }});
        // The file is handed over open: the process, which comes from no port of root's as QEMU does not, could not open it.
        let here = json!({ "driver": "raw", "file": {
            "driver": "file", "filename": "/dev/stdin", "locking": "off",
        }});
        let marker = self.settings.pool.join(MARKER);
        let marker =
            task::spawn_blocking(move || File::open(marker)).await.map_err(|_| FilerError::Stopped)?;
        let mut compare = Command::new("qemu-img");
        compare.args(["compare", "-q", &format!("json:{here}"), &format!("json:{served}")]);
        compare.stdin(marker.map_err(FilerError::Probe)?).uid(NOBODY).gid(NOBODY).kill_on_drop(true);
        let output = match timeout(ANSWER, compare.output()).await {
            Ok(output) => output.map_err(FilerError::Client)?,
            Err(_) => return Ok(Some(format!("no answer within {} s", ANSWER.as_secs()))),
        };
        // qemu-img(1), compare: 1 is for images that differ.
        Ok(match output.status.code() {
            Some(0) => None,
            Some(1) => Some("another pool is there".into()),
            _ => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        })
    }

    fn unserved(&self, reason: String) -> FilerError {
        let Settings { server, folder, .. } = &self.settings;
        FilerError::Unserved { server: *server, folder: folder.clone(), reason }
    }

    /// A file of the pool as the filer names it.
    fn on_filer(&self, file: &Path) -> Option<PathBuf> {
        Some(self.settings.folder.join(file.strip_prefix(&self.settings.pool).ok()?))
    }

    /// Takes over an export that is to go and that a process before this one may have opened.
    pub async fn take_over(&self, id: ExportId, path: PathBuf) {
        self.exports.lock().await.entry(id).or_insert((path, Access::ReadWrite));
    }

    fn source(&self, export: &Export) -> Result<Source, ExportError> {
        let invalid =
            || ExportError::Invalid { id: export.id, field: "path", rule: "must be below the pool's folder" };
        let (path, user) = (self.on_filer(&export.path).ok_or_else(invalid)?, user_of(export));
        Ok(Source::Nfs { server: self.settings.server, path, user, group: user })
    }
}

#[async_trait]
impl Backend for Filer {
    async fn ensure(&self, export: &Export) -> Result<Source, ExportError> {
        let mut exports = self.exports.lock().await;
        refuse_second(export, &all(&exports))?;
        let source = self.source(export)?;
        let given = export.clone();
        on_disk(move || give(&given)).await?;
        exports.insert(export.id, (export.path.clone(), export.access));
        Ok(source)
    }

    /// At once: a filer tells nobody who is connected, and who is has a file that is the volume's no more.
    async fn revoke(&self, id: ExportId, _: Duration) -> Result<Revoked, ExportError> {
        let mut exports = self.exports.lock().await;
        let Some((path, _)) = exports.get(&id).cloned() else { return Ok(Revoked::Gone) };
        let is_shared = exports.iter().any(|(other, (file, _))| *other != id && *file == path);
        if !is_shared {
            on_disk(move || take(id, &path)).await?;
        }
        exports.remove(&id);
        Ok(Revoked::Gone)
    }

    async fn list(&self) -> Result<Vec<Found>, ExportError> {
        Ok(all(&*self.exports.lock().await))
    }
}

/// How an export stands by its file alone, for the doctor: what became of it is nowhere else.
///
/// # Errors
/// The file cannot be looked at.
pub fn look(id: ExportId, volume: VolumeId, path: &Path) -> io::Result<Found> {
    let file = fs::metadata(path)?;
    let (access, open, other) = match (file.uid(), file.gid()) {
        (0, 0) => (Access::ReadWrite, false, None),
        (owner, _) if owner == writer(id) => (Access::ReadWrite, true, None),
        // Shut, and to be replaced still.
        (0, group) if group == writer(id) => (Access::ReadWrite, false, None),
        (0, group) if group == readers(volume) && file.mode() & 0o777 == READ => {
            (Access::ReadOnly, true, None)
        }
        (owner, group) => {
            let other = format!("the user {owner} of the group {group}, to whom its file belongs");
            (Access::ReadWrite, false, Some(other))
        }
    };
    Ok(Found {
        name: id.to_string(),
        id: Some(id),
        path: Some(path.to_owned()),
        access,
        open,
        connections: vec![],
        others: other.into_iter().collect(),
    })
}

/// Who its client says that he is: of a writer the export's own user, of readers one of their volume.
fn user_of(export: &Export) -> u32 {
    match export.access {
        Access::ReadWrite => writer(export.id),
        Access::ReadOnly => readers(export.volume),
    }
}

fn writer(id: ExportId) -> u32 {
    numbered(id.bits())
}

fn readers(id: VolumeId) -> u32 {
    numbered(id.bits())
}

/// Ids are random. That two exports of one volume, one after the other, have the same user is one in a thousand million.
fn numbered(bits: u128) -> u32 {
    FIRST_USER | u32::try_from(bits & u128::from(FIRST_USER - 1)).unwrap_or_default()
}

/// Gives the file to its user, unless it is somebody else's.
fn give(export: &Export) -> Result<(), ExportError> {
    let (path, user) = (&export.path, user_of(export));
    let found = fs::metadata(path).map_err(failed(path))?;
    let (owner, group, mode) = match export.access {
        Access::ReadWrite => (user, 0, WRITTEN),
        Access::ReadOnly => (0, user, READ),
    };
    match (found.uid(), found.gid()) {
        (0, 0) => {}
        holder if holder == (owner, group) && found.mode() & 0o777 == mode => return Ok(()),
        holder if holder == (owner, group) => {}
        (uid, gid) => {
            let holder = format!("the user {uid} of the group {gid}, to whom its file belongs,");
            return Err(ExportError::Held { id: export.id, holder });
        }
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
        .and_then(|()| chown(path, Some(owner), Some(group)))
        .map_err(failed(path))?;
    Ok(failpoint::hit("storage::filer_export::given")?)
}

/// Ends what an export has of a file, whatever process opened it. A file that somebody else has by now is left to him.
fn take(id: ExportId, path: &Path) -> Result<(), ExportError> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(path)(error)),
    };
    let user = writer(id);
    match (found.uid(), found.gid(), found.mode() & 0o777) {
        (owner, _, _) if owner == user => shut(path, user).and_then(|()| replace(path)),
        (0, group, mode) if group == user && mode != READ => replace(path),
        // The last reader's; nothing of his could land.
        (0, FIRST_USER.., READ) => chown(path, Some(0), Some(0))
            .and_then(|()| fs::set_permissions(path, Permissions::from_mode(MODE)))
            .map_err(failed(path)),
        _ => Ok(()),
    }
}

/// Takes a file from its user. The group tells whoever comes next that it is to be replaced still.
fn shut(path: &Path, user: u32) -> Result<(), ExportError> {
    chown(path, Some(0), Some(user)).map_err(failed(path))?;
    Ok(failpoint::hit("storage::filer_revoke::shut")?)
}

/// Puts a clone into the file's place, which is root's alone.
fn replace(path: &Path) -> Result<(), ExportError> {
    let next = path.with_extension("next");
    let clone = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        // A clone that was not finished is begun anew.
        let to = options.write(true).create(true).truncate(true).mode(MODE).open(&next)?;
        chown(&next, Some(0), Some(0))?;
        reflink::clone(&File::open(path)?, &to)?;
        to.sync_all()
    };
    clone().map_err(failed(&next))?;
    failpoint::hit("storage::filer_revoke::cloned")?;
    fs::rename(&next, path).map_err(failed(path))?;
    let folder = path.parent().unwrap_or(path);
    durable::sync(folder).map_err(|error| failed(folder)(io::Error::other(error)))?;
    Ok(failpoint::hit("storage::filer_revoke::replaced")?)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ExportError {
    let path = path.to_owned();
    move |source| ExportError::File { path, source }
}

/// A filer that is away makes whoever asks it wait.
async fn on_disk(work: impl FnOnce() -> Result<(), ExportError> + Send + 'static) -> Result<(), ExportError> {
    task::spawn_blocking(work).await.unwrap_or(Err(ExportError::Stopped))
}
