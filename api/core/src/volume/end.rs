//! Volumes that are deleted by themselves at a time that their owner set, after a warning.
//!
//! ```text
//!   later ──its warning is due──▶ soon ──its time has come──▶ overdue ──▶ deleted
//!     ▲                            │ │                          └─ in use: it waits
//!     └── the clock was set back ──┘ └─ the warning was too short: it waits
//! ```
//! A clock that is wrong must not delete anything: nothing is deleted before its warning was written down and the whole
//! time of the warning has passed since, counted by processes that watched it pass. A control plane that starts with a clock
//! years ahead begins to warn, and takes the warnings back when the clock is put right.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tepui_db::VolumeOutcome;
use tepui_db::model::{EndingVolume, VolumeEnd};
use tepui_types::VolumeId;

use super::{VolumeView, changed};
use crate::enrol::by;
use crate::failpoint::pass;
use crate::{Caller, Cloud, Error, limits};

const DAY: u32 = 86_400;
/// Counted time is written down so often. What is lost at the end of a process is less, and makes a warning longer.
const COUNTED: i64 = 60;

/// How near the end of a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndState {
    /// Its owner need not do anything.
    Later,
    /// Its owner is warned.
    Soon,
    /// Its time has come, and it is in use, or its warning was shorter than it must be.
    Overdue,
}

/// When a volume is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndView {
    /// Its time.
    pub at: Timestamp,
    /// Its owner is warned from then on.
    pub warns_at: Timestamp,
    /// How near it is.
    pub state: EndState,
    /// It is not deleted before.
    pub not_before: Timestamp,
}

impl EndView {
    pub(super) fn of(end: &VolumeEnd, now: Timestamp) -> Self {
        let state = match end.warned_seconds {
            None => EndState::Later,
            Some(_) if now < end.at => EndState::Soon,
            Some(_) => EndState::Overdue,
        };
        let left = end.warned_seconds.map_or(0, |warned| end.warning_seconds().saturating_sub(warned));
        let warned = now.checked_add(SignedDuration::from_secs(left.into())).unwrap_or(end.at);
        Self { at: end.at, warns_at: end.warns_at, state, not_before: warned.max(end.at) }
    }
}

/// When this process last wrote down how much time has passed.
#[derive(Default)]
pub(crate) struct WatchedTime(Mutex<Option<Timestamp>>);

impl WatchedTime {
    /// Whole seconds since it was noted, by a clock that nobody can set. None at the first look of a process: what was
    /// before, nobody watched.
    fn seconds(&self, steady: Timestamp) -> u32 {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *noted.get_or_insert(steady);
        u32::try_from(steady.duration_since(since).as_secs()).unwrap_or(0)
    }

    fn note(&self, steady: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(steady);
    }
}

/// So long before its end the owner of a volume is warned: a tenth of its life, so that the warning is not most of it; an
/// hour at least, in which somebody at work sees it; three days at most, which a weekend does not swallow.
fn warning(ttl_seconds: u32) -> u32 {
    (ttl_seconds / 10).clamp(3600, 3 * DAY)
}

pub(super) fn new_end(caller: &Caller, ttl_seconds: u32, now: Timestamp) -> Result<VolumeEnd, Error> {
    limits::check_between("ttl_seconds", ttl_seconds, limits::VOLUME_TTL_SECONDS)?;
    let after =
        |seconds: u32| now.checked_add(SignedDuration::from_secs(seconds.into())).map_err(Error::internal);
    Ok(VolumeEnd {
        at: after(ttl_seconds)?,
        warns_at: after(ttl_seconds - warning(ttl_seconds))?,
        warned_seconds: None,
        set_by: caller.user_id,
    })
}

impl Cloud {
    /// Sets the time at which a volume is deleted, from now on, or takes it away.
    ///
    /// # Errors
    /// `NotFound`, `RootDisk`, `InvalidInput`, `WrongState` for a volume that is being deleted.
    pub async fn set_volume_ttl(
        &self,
        caller: &Caller,
        id: VolumeId,
        ttl_seconds: Option<u32>,
    ) -> Result<VolumeView, Error> {
        self.volume(caller, id).await?;
        if self.root_disk_of(caller, id).await?.is_some() {
            return Err(Error::local_root(id, "given an end"));
        }
        let end = ttl_seconds.map(|ttl| new_end(caller, ttl, self.now())).transpose()?;
        self.commit(caller, "SetVolumeTtl", id.to_string(), async {
            changed(id, self.db.set_volume_end(caller.project, id, end).await?, 0, 0)
        })
        .await?;
        self.volume(caller, id).await
    }

    /// Warns of volumes whose end is near, counts the time of the warnings, and deletes what is over and not in use; how
    /// many volumes were warned of or deleted.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn end_volumes(&self) -> Result<u32, Error> {
        let (now, steady) = (self.clock.earliest(), self.steady());
        let endings = self.db.ending_volumes(now).await?;
        let watched = self.watched.seconds(steady);
        let begun = endings.iter().filter(|one| is_begun(&one.end, now)).count();
        let counted: Vec<_> =
            endings.iter().map(|one| (*one, counted(&one.end, now, watched))).filter(is_news).collect();
        if begun > 0 || i64::from(watched) >= COUNTED || counted.iter().any(|(_, after)| after.is_none()) {
            if !counted.is_empty() {
                self.db.note_warnings(&counted).await?;
                pass("core::volume_end::warned")?;
            }
            self.watched.note(steady);
        }
        let mut count = u32::try_from(begun).unwrap_or(u32::MAX);
        for ending in endings.iter().filter(|one| is_over(one, now)) {
            count += u32::from(self.end_volume(ending).await?);
        }
        Ok(count)
    }

    /// Deletes it as its owner would; whether that was done.
    async fn end_volume(&self, ending: &EndingVolume) -> Result<bool, Error> {
        let VolumeOutcome::Changed(nodes) = self.db.end_volume(ending).await? else {
            // Somebody has moved its end or begun to use it: it is looked at again.
            return Ok(false);
        };
        let owner = by((ending.project_id, ending.end.set_by), "volume-end");
        self.record(&owner, "DeleteVolume", ending.volume_id.to_string(), "ok").await;
        let passed = pass("core::volume_end::deleted")?;
        self.wakes.wake(passed, nodes);
        Ok(true)
    }

    /// Volumes whose owners are warned, of all projects, by id.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn warned_volumes(&self) -> Result<Vec<(EndingVolume, EndState)>, Error> {
        let now = self.now();
        let mut endings = self.db.ending_volumes(now).await?;
        endings.retain(|one| one.end.warned_seconds.is_some());
        Ok(endings.into_iter().map(|one| (one, EndView::of(&one.end, now).state)).collect())
    }
}

/// Its warning is due and was not written down.
fn is_begun(end: &VolumeEnd, now: Timestamp) -> bool {
    end.warned_seconds.is_none() && end.warns_at <= now
}

/// The time of its warning after `watched` more seconds.
fn counted(end: &VolumeEnd, now: Timestamp, watched: u32) -> Option<u32> {
    match end.warned_seconds {
        // The clock was ahead when it was warned of.
        _ if now < end.warns_at => None,
        None => Some(0),
        Some(warned) => Some(warned.saturating_add(watched).min(end.warning_seconds())),
    }
}

fn is_news((ending, after): &(EndingVolume, Option<u32>)) -> bool {
    ending.end.warned_seconds != *after
}

/// Its time has come, its warning was long enough by what is written down, and nobody uses it.
fn is_over(ending: &EndingVolume, now: Timestamp) -> bool {
    let end = &ending.end;
    let is_warned = end.warned_seconds.is_some_and(|warned| warned >= end.warning_seconds());
    is_warned && end.at <= now && ending.used_by.is_none()
}
