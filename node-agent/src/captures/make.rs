//! The making of one capture.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tepui_libvirt::{CaptureState, DomainState};
use tepui_types::PlacementId;
use tokio::time::Instant;

use super::{ABANDONED, Called, CaptureError, CaptureKeeper, Extent, Wanted, file};
use crate::disks::{DiskError, DiskPaths};

/// How often a capture under way is looked at. A disk writes a few hundred MiB in this time.
const LOOK: Duration = Duration::from_millis(250);
/// What a capture leaves free: guests stand still on a full disk.
pub(super) const RESERVE: u64 = 2 << 30;
/// What a capture may take in any case, and for each GiB of its disk: a slow disk under load copies ten MiB a second.
const SHORTEST: Duration = Duration::from_secs(600);
const FOR_EACH_GIB: Duration = Duration::from_secs(100);
/// How long one that was called off may take to end. QEMU ends its job when the write that is under way is done.
const ABORT: Duration = Duration::from_secs(30);
const GIB: u64 = 1 << 30;

/// Ends a copy whose task is dropped: else the end of the process would wait for all of it.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl CaptureKeeper {
    /// Makes the file of a capture. It is worthless after an error, and the caller removes it.
    pub(super) async fn make(&self, wanted: &Wanted, called: Called) -> Result<Extent, CaptureError> {
        let id = wanted.placement;
        let paths = self.disks.paths(id, &wanted.disk);
        if !self.disks.overlays()?.contains(&id) {
            return Err(CaptureError::NoDisk(id));
        }
        self.check_room(file::written(&paths)?.min(wanted.disk.size_bytes))?;
        file::remove(&file::path(&self.dir, id))?;
        let time = SHORTEST + FOR_EACH_GIB * u32::try_from(wanted.disk.size_bytes / GIB).unwrap_or(u32::MAX);
        let stop = self.reason_to_stop(called, time);
        match self.is_off(id).await? {
            true => {
                self.copy(id, paths, stop).await?;
                // Whoever started it beside the agent wrote into what was read.
                if self.is_off(id).await? { Ok(Extent::OnImage) } else { Err(CaptureError::CalledOff) }
            }
            false => self.let_qemu_copy(id, stop).await.map(|()| Extent::All),
        }
    }

    fn check_room(&self, needed: u64) -> Result<(), CaptureError> {
        let (free, reserve) = (self.disks.free_bytes(), RESERVE);
        match needed.saturating_add(reserve) > free {
            true => Err(CaptureError::NoRoom { needed, free, reserve }),
            false => Ok(()),
        }
    }

    /// Only the agent starts guests, and before it does it ends this capture: one that is off stays so.
    async fn is_off(&self, id: PlacementId) -> Result<bool, CaptureError> {
        let domains = self.hypervisor.domains().await?;
        let own = domains.iter().find(|domain| domain.id == id);
        Ok(own.is_none_or(|domain| matches!(domain.state, DomainState::Off { .. })))
    }

    /// Returns when it must end early, with why.
    pub(super) async fn reason_to_stop(&self, mut called: Called, time: Duration) -> CaptureError {
        let begun = Instant::now();
        loop {
            // Nobody is left to call it off when the sender is gone, as at the agent's end.
            if tokio::time::timeout(LOOK, called.off.wait_for(|off| *off)).await.is_ok() {
                return CaptureError::CalledOff;
            }
            // Its snapshot was deleted, or its pool's host is gone: others wait.
            if called.asked.borrow().elapsed() > ABANDONED {
                return CaptureError::CalledOff;
            }
            if begun.elapsed() > time {
                return CaptureError::TooSlow(time);
            }
            if let Err(full) = self.check_room(0) {
                return full;
            }
        }
    }

    /// Of a guest that is off.
    async fn copy(
        &self,
        id: PlacementId,
        paths: DiskPaths,
        stop: impl Future<Output = CaptureError>,
    ) -> Result<(), CaptureError> {
        let stopping = Arc::new(AtomicBool::new(false));
        let stopper = StopOnDrop(Arc::clone(&stopping));
        let to = file::path(&self.dir, id);
        let mut copied = tokio::task::spawn_blocking(move || file::copy(&paths.overlay, &to, &stopping));
        tokio::select! {
            copied = &mut copied => Ok(copied.unwrap_or(Err(DiskError::GivenUp))?),
            why = stop => {
                drop(stopper);
                // It has ended when it wrote its last.
                let _ = copied.await;
                Err(why)
            }
        }
    }

    /// Of a guest that runs.
    async fn let_qemu_copy(
        &self,
        id: PlacementId,
        stop: impl Future<Output = CaptureError>,
    ) -> Result<(), CaptureError> {
        match self.hypervisor.begin_capture(id, &file::path(&self.dir, id)).await {
            Ok(true) => {}
            Ok(false) => return Err(CaptureError::WentOff),
            Err(error) => {
                // Nobody knows whether it began.
                self.abort(id).await?;
                return Err(error.into());
            }
        }
        tokio::select! {
            ended = self.ended(id) => match ended {
                None => Ok(()),
                Some(why) => Err(CaptureError::Failed(why)),
            },
            why = stop => {
                self.abort(id).await?;
                Err(why)
            }
        }
    }

    /// Returns when QEMU's copy has ended, with why it failed. A libvirtd that does not answer is asked again.
    async fn ended(&self, id: PlacementId) -> Option<String> {
        loop {
            match self.hypervisor.capture_state(id).await {
                Ok(CaptureState::Whole) => return None,
                Ok(CaptureState::Failed(why)) => return Some(why),
                Ok(CaptureState::UnderWay) => {}
                Err(error) => {
                    tracing::warn!(placement = %id, message = crate::chain(&error), "cannot look at a capture");
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Calls QEMU's copy off, and returns once it has ended.
    pub(super) async fn abort(&self, id: PlacementId) -> Result<(), CaptureError> {
        self.hypervisor.abort_capture(id).await?;
        let ended = tokio::time::timeout(ABORT, self.ended(id)).await;
        ended.map(drop).map_err(|_| CaptureError::TooSlow(ABORT))
    }
}
