//! The operator's socket: a running control plane is asked for a backup by a line with the file's
//! path, and answers with a line that is `ok` or says why not.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tepui_db_sqlite::SqliteDb;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::files::{self, FileError};

/// A client has this long to ask.
const LINE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than any path.
const LINE_BYTES: u64 = 8192;
const OK: &str = "ok";

/// Opens the socket; the future serves it until `stop` and ends with the last backup that was begun.
/// Whoever is not the owner cannot connect.
pub(crate) fn serve(
    path: &Path,
    db: Arc<SqliteDb>,
    stop: CancellationToken,
) -> Result<impl Future<Output = ()> + use<>, FileError> {
    // One of a process that is gone: the database's lock says that no other runs.
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).map_err(files::error("listen on", path))?;
    let mode = Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).map_err(files::error("close to others", path))?;
    let path = path.to_owned();
    Ok(async move {
        let exchanges = TaskTracker::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => drop(exchanges.spawn(answer(stream, Arc::clone(&db), stop.clone()))),
                    Err(error) => tracing::warn!(%error, "cannot accept on the operator's socket"),
                },
            }
        }
        let _ = std::fs::remove_file(&path);
        exchanges.close();
        exchanges.wait().await;
    })
}

async fn answer(stream: UnixStream, db: Arc<SqliteDb>, stop: CancellationToken) {
    if let Err(error) = exchange(stream, db, stop).await {
        tracing::warn!(%error, "an operator's request broke off");
    }
}

async fn exchange(mut stream: UnixStream, db: Arc<SqliteDb>, stop: CancellationToken) -> io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new((&mut stream).take(LINE_BYTES));
    let reading = tokio::time::timeout(LINE_TIMEOUT, reader.read_line(&mut line));
    let Some(read) = stop.run_until_cancelled(reading).await else { return Ok(()) };
    read??;
    let target = PathBuf::from(line.trim_end_matches('\n'));
    let made = tokio::task::spawn_blocking(move || db.backup(&target)).await?;
    let answer = match made {
        Ok(()) => OK.to_owned(),
        Err(error) => match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        },
    };
    stream.write_all(format!("{}\n", answer.replace('\n', " ")).as_bytes()).await
}

/// Asks a running control plane for a backup to `target`; `None` when none runs.
pub(crate) async fn request_backup(socket: &Path, target: &Path) -> io::Result<Option<Result<(), String>>> {
    let mut stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.write_all(format!("{}\n", target.display()).as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(Some(if answer.trim() == OK { Ok(()) } else { Err(answer.trim().to_owned()) }))
}
