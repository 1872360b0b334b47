//! Captures: what a local root disk holds at one moment, in a file beside it, until it is sent to the host that makes a
//! snapshot of it.
//!
//! ```text
//!   asked for ──▶ under way ──▶ whole ──▶ opened, and its file removed
//!                     │            └─ not asked for again within KEEP, the disk nearly full, its guest starts: removed
//!                     └─ failed, the disk nearly full, its guest starts or goes, not asked for within ABANDONED: removed,
//!                        and made anew when asked again
//! ```
//!
//! One at a time is made on a host. Of a guest that runs, QEMU makes it beside the guest; of one that is off it is a copy of the
//! overlay, which a start never waits for: it calls the copy off. The agent keeps no word of captures: what it finds when it
//! starts is left of an earlier life, and goes.

mod content;
mod file;
mod make;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tepui_types::agent::RootDisk;
use tepui_types::{PlacementId, SnapshotId};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::disks::{DiskError, Disks, FlatDisk};
use crate::hypervisor::{Hypervisor, HypervisorError};

pub(crate) use content::DiskContent;
pub(crate) use file::placement_of;

/// How long who asks for a capture waits for it. The control plane waits a little longer, and its reader asks again.
const PATIENCE: Duration = Duration::from_secs(90);
/// A whole capture is kept so long for who asks again. A host that makes many snapshots asks for each in turn, with up to
/// [`PATIENCE`] for every other one.
const KEEP: Duration = Duration::from_secs(900);
/// A whole one that nobody asked for in this time goes where another one is wanted.
const IDLE: Duration = Duration::from_secs(180);
/// One under way that nobody asked for in this time is called off.
const ABANDONED: Duration = PATIENCE.saturating_add(KEEP);

/// Why there is no capture to send.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// No part names the placement with a local root disk, or the disk is not here.
    #[error("no root disk of {0} is here")]
    NoDisk(PlacementId),
    /// Another one is being made, or waits to be sent.
    #[error("another disk is being captured")]
    Busy,
    /// The guest starts or goes.
    #[error("the instance is being started or removed")]
    Moving,
    /// It takes longer than anybody waits.
    #[error("the disk is still being captured")]
    NotYet,
    /// Guests would stand still without it.
    #[error("{free} bytes are free for disks; a capture of {needed} bytes leaves at least {reserve}")]
    NoRoom {
        /// What it takes at most, as far as is known.
        needed: u64,
        /// What is free.
        free: u64,
        /// What is left for guests.
        reserve: u64,
    },
    /// It did not end in time.
    #[error("the capture did not end within {0:?}")]
    TooSlow(Duration),
    /// A start, the end of the agent, or nobody asks for it any more.
    #[error("the capture was called off")]
    CalledOff,
    /// The guest that was seen to run is off.
    #[error("the guest went off")]
    WentOff,
    /// QEMU's, or of one that failed before it was asked for again.
    #[error("the capture failed: {0}")]
    Failed(String),
    /// The hypervisor.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// A file.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What is to be captured, and for which snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) snapshot: SnapshotId,
    pub(crate) placement: PlacementId,
    pub(crate) disk: RootDisk,
}

/// What a capture has of its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// All of it: where it has nothing the disk has zeros.
    All,
    /// What was written since its image.
    OnImage,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    UnderWay,
    /// Since when.
    Whole(Extent, Instant),
    /// Nothing is left of it; why, if it failed.
    Over(Option<String>),
}

struct Capture {
    wanted: Wanted,
    progress: watch::Receiver<Progress>,
    /// It is not wanted any more.
    off: watch::Sender<bool>,
    /// When somebody asked for it last.
    asked: watch::Sender<Instant>,
}

/// What its task hears of a capture.
#[derive(Clone)]
struct Called {
    off: watch::Receiver<bool>,
    asked: watch::Receiver<Instant>,
}

impl Capture {
    fn is_under_way(&self) -> bool {
        *self.progress.borrow() == Progress::UnderWay
    }

    fn is_over(&self) -> bool {
        // A task that died has left a file, which the next capture of the disk removes.
        matches!(*self.progress.borrow(), Progress::Over(_)) || self.progress.has_changed().is_err()
    }

    /// Whether it is whole, and those who wanted it seem to want it no more. They may have asked last long before it was.
    fn is_idle(&self) -> bool {
        match *self.progress.borrow() {
            Progress::Whole(_, since) => since.max(*self.asked.borrow()).elapsed() > IDLE,
            Progress::UnderWay | Progress::Over(_) => false,
        }
    }
}

#[derive(Default)]
struct Known {
    /// What an earlier life of the agent left is gone.
    is_tidy: bool,
    /// Placements that start or go, and how many tasks say so.
    held: BTreeMap<PlacementId, u32>,
    one: Option<Capture>,
}

/// Makes captures of the disks in one directory.
pub struct CaptureKeeper {
    hypervisor: Arc<dyn Hypervisor>,
    disks: Arc<dyn Disks>,
    dir: PathBuf,
    known: Mutex<Known>,
}

/// Keeps captures off a placement until it is dropped.
pub(crate) struct Hold {
    keeper: Arc<CaptureKeeper>,
    id: PlacementId,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut known = self.keeper.known();
        if let Some(count) = known.held.get_mut(&self.id) {
            *count -= 1;
        }
        known.held.retain(|_, count| *count > 0);
    }
}

impl CaptureKeeper {
    /// A keeper that has made none; the files go into `dir`.
    pub fn new(hypervisor: Arc<dyn Hypervisor>, disks: Arc<dyn Disks>, dir: PathBuf) -> Self {
        Self { hypervisor, disks, dir, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the disk holds at one moment from now on, or held when it was asked for this snapshot before and nobody waited
    /// until it was whole.
    pub(crate) async fn content(self: &Arc<Self>, wanted: Wanted) -> Result<DiskContent, CaptureError> {
        let mut progress = self.join(&wanted)?;
        let ended = progress.wait_for(|progress| *progress != Progress::UnderWay);
        let ended = match tokio::time::timeout(PATIENCE, ended).await {
            Err(_) => return Err(CaptureError::NotYet),
            Ok(Err(_)) => return Err(CaptureError::CalledOff),
            Ok(Ok(progress)) => progress.clone(),
        };
        match ended {
            Progress::Whole(extent, _) => self.open(wanted, extent).await,
            Progress::Over(Some(why)) => Err(CaptureError::Failed(why)),
            Progress::Over(None) | Progress::UnderWay => Err(CaptureError::NotYet),
        }
    }

    /// The one that is being made for this snapshot, or a new one.
    fn join(self: &Arc<Self>, wanted: &Wanted) -> Result<watch::Receiver<Progress>, CaptureError> {
        let mut known = self.known();
        match &known.one {
            Some(one) if one.is_over() => {}
            Some(one) if one.wanted.snapshot == wanted.snapshot => {
                one.asked.send_replace(Instant::now());
                return Ok(one.progress.clone());
            }
            Some(one) => {
                if one.is_idle() {
                    one.off.send_replace(true);
                }
                return Err(CaptureError::Busy);
            }
            None => {}
        }
        if !known.is_tidy {
            return Err(CaptureError::Busy);
        }
        if known.held.contains_key(&wanted.placement) {
            return Err(CaptureError::Moving);
        }
        let (told, progress) = watch::channel(Progress::UnderWay);
        let ((off, called_off), (asked, last_asked)) =
            (watch::channel(false), watch::channel(Instant::now()));
        let called = Called { off: called_off, asked: last_asked };
        tokio::spawn(Arc::clone(self).run(wanted.clone(), told, called));
        known.one = Some(Capture { wanted: wanted.clone(), progress: progress.clone(), off, asked });
        Ok(progress)
    }

    /// Makes one, and keeps it until it is opened or nobody asks for it.
    async fn run(self: Arc<Self>, wanted: Wanted, progress: watch::Sender<Progress>, called: Called) {
        let (placement, snapshot) = (wanted.placement, wanted.snapshot);
        let why = match self.make(&wanted, called.clone()).await {
            Ok(extent) => {
                tracing::info!(%placement, %snapshot, "captured a root disk");
                progress.send_replace(Progress::Whole(extent, Instant::now()));
                let why = self.reason_to_stop(called, KEEP).await;
                tracing::debug!(%placement, %snapshot, message = crate::chain(&why), "a capture is kept no more");
                None
            }
            Err(error) => {
                let message = crate::chain(&error);
                tracing::warn!(%placement, %snapshot, message, "a root disk was not captured");
                Some(message)
            }
        };
        if let Err(error) = file::remove(&file::path(&self.dir, placement)) {
            tracing::error!(%placement, message = crate::chain(&error), "cannot remove a capture");
        }
        progress.send_replace(Progress::Over(why));
    }

    /// Opens a whole one; what is open needs no name any more.
    async fn open(&self, wanted: Wanted, extent: Extent) -> Result<DiskContent, CaptureError> {
        let path = file::path(&self.dir, wanted.placement);
        let base = self.disks.paths(wanted.placement, &wanted.disk).base;
        let failed = file::file_error(&path);
        let disks = Arc::clone(&self.disks);
        let open = move || {
            let base = match extent {
                Extent::All => None,
                Extent::OnImage => Some(File::open(&base).map_err(file::file_error(&base))?),
            };
            let capture = File::open(&path).map_err(&failed)?;
            let disk = FlatDisk::open(capture, base, wanted.disk.size_bytes).map_err(&failed)?;
            DiskContent::new(disk, disks).map_err(&failed)
        };
        let opened = tokio::task::spawn_blocking(open).await.unwrap_or(Err(DiskError::GivenUp))?;
        // Meanwhile it may have gone, and the file is the half-made one of another snapshot.
        let is_own = |one: &&Capture| one.wanted.snapshot == wanted.snapshot && !one.is_under_way();
        let known = self.known();
        let own = known.one.as_ref().filter(is_own).ok_or(CaptureError::NotYet)?;
        own.off.send_replace(true);
        Ok(opened)
    }

    /// Ends the capture of a placement's disk, also one that waits to be sent, and keeps others off it: before its guest
    /// starts, and before it goes.
    pub(crate) async fn hold(self: &Arc<Self>, id: PlacementId) -> Hold {
        let ending = {
            let mut known = self.known();
            *known.held.entry(id).or_default() += 1;
            known.one.as_ref().filter(|one| one.wanted.placement == id && !one.is_over()).map(|one| {
                one.off.send_replace(true);
                one.progress.clone()
            })
        };
        let hold = Hold { keeper: Arc::clone(self), id };
        if let Some(mut progress) = ending {
            // One whose task died is over, too.
            let _ = progress.wait_for(|progress| matches!(progress, Progress::Over(_))).await;
        }
        hold
    }

    /// Removes what an earlier life of the agent left, jobs of QEMU included. None is made before.
    pub(crate) async fn tidy(&self) -> Result<(), CaptureError> {
        for id in file::left_in(&self.dir)? {
            self.abort(id).await?;
            file::remove(&file::path(&self.dir, id))?;
            tracing::info!(placement = %id, "removed a capture that was left");
        }
        self.known().is_tidy = true;
        Ok(())
    }
}
