//! Runs the sandboxed conversion as a child and bounds what it may take.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Wall time of one conversion; the store's largest image takes minutes on a slow disk.
const MAX_DURATION: Duration = Duration::from_secs(3600);
/// How often the output's growth is looked at. A disk writes a few hundred MiB in this time.
const WATCH_PERIOD: Duration = Duration::from_millis(100);
/// Of qemu-img's complaint, this much is shown.
const MAX_COMPLAINT: usize = 500;

/// Starts conversions through the program `tepui-image-convert`.
#[derive(Debug, Clone)]
pub struct Converter {
    program: PathBuf,
}

/// Why a conversion failed.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The sandbox program could not be run.
    #[error("cannot run {program}")]
    Spawn {
        /// Its path.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// qemu-img or the sandbox gave up.
    #[error("the conversion failed: {0}")]
    Failed(String),
    /// More data than allowed.
    #[error("the image unpacks to more than {0} bytes of data")]
    TooMuchData(u64),
    /// It did not end.
    #[error("the conversion took longer than {0:?}")]
    TooSlow(Duration),
}

impl Converter {
    /// `program` is the path of `tepui-image-convert`.
    pub fn new(program: PathBuf) -> Self {
        Self { program }
    }

    /// Converts the qcow2 file `source` into the existing, empty, raw file `target`.
    ///
    /// # Errors
    /// See [`ConvertError`]; `target` is then worthless, and the caller removes it.
    pub async fn convert(
        &self,
        source: &Path,
        target: &Path,
        virtual_bytes: u64,
        max_stored_bytes: u64,
    ) -> Result<(), ConvertError> {
        let child = Command::new(&self.program)
            .args([source, target])
            .arg(virtual_bytes.to_string())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| ConvertError::Spawn { program: self.program.clone(), source })?;
        tokio::select! {
            ended = timeout(MAX_DURATION, wait(child)) => ended.map_err(|_| ConvertError::TooSlow(MAX_DURATION))?,
            () = grows_past(target, max_stored_bytes) => Err(ConvertError::TooMuchData(max_stored_bytes)),
        }?;
        if stored_bytes(target) > max_stored_bytes {
            return Err(ConvertError::TooMuchData(max_stored_bytes));
        }
        Ok(())
    }
}

async fn wait(child: Child) -> Result<(), ConvertError> {
    let output = child.wait_with_output().await.map_err(|error| ConvertError::Failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint: String =
        complaint.trim().chars().filter(|c| !c.is_control()).take(MAX_COMPLAINT).collect();
    Err(ConvertError::Failed(format!("{complaint} ({})", output.status)))
}

async fn grows_past(file: &Path, max_bytes: u64) {
    let mut ticks = interval(WATCH_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stored_bytes(file) <= max_bytes {
        ticks.tick().await;
    }
}

/// Bytes on disk, holes not counted. `st_blocks` is in units of 512 whatever the file system.
fn stored_bytes(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.blocks() * 512)
}
