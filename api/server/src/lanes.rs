//! How much is imported at once, in all and for one project.
//!
//! ```text
//!   enter ──▶ (download: of the project's, then of all) ──▶ (conversion) ──▶ left
//! ```
//! A download costs little and takes as long as its source likes; a conversion takes a core and the
//! disk. Each waits in a lane of its own, so that slow sources hold up nobody's conversions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tepui_core::Error;
use tepui_types::ProjectId;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

/// Conversions at once. Each may keep a core and the disk busy.
pub(crate) const CONVERSIONS: usize = 2;
/// Downloads at once.
const DOWNLOADS: usize = 16;
/// Downloads of one project at once.
const PROJECT_DOWNLOADS: usize = 2;
/// Imports of one project that wait or run.
const PROJECT_IMPORTS: usize = 16;

/// All imports under way.
pub(crate) struct Lanes {
    projects: Mutex<HashMap<ProjectId, Lane>>,
    downloads: Semaphore,
    conversions: Semaphore,
}

struct Lane {
    imports: usize,
    downloads: Arc<Semaphore>,
}

/// The right to one import, until it is dropped.
pub(crate) struct Place {
    project: ProjectId,
    own: Arc<Semaphore>,
    lanes: Arc<Lanes>,
}

impl Lanes {
    pub(crate) fn new() -> Arc<Self> {
        let (downloads, conversions) = (Semaphore::new(DOWNLOADS), Semaphore::new(CONVERSIONS));
        Arc::new(Self { projects: Mutex::default(), downloads, conversions })
    }

    /// A place for one import more of this project, `LimitExceeded` when it has too many.
    pub(crate) fn enter(self: &Arc<Self>, project: ProjectId) -> Result<Place, Error> {
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = projects
            .entry(project)
            .or_insert_with(|| Lane { imports: 0, downloads: Arc::new(Semaphore::new(PROJECT_DOWNLOADS)) });
        if lane.imports == PROJECT_IMPORTS {
            return Err(Error::LimitExceeded { what: "active imports of a project", limit: PROJECT_IMPORTS });
        }
        lane.imports += 1;
        Ok(Place { project, own: Arc::clone(&lane.downloads), lanes: Arc::clone(self) })
    }
}

impl Place {
    /// Waits until the import may download.
    pub(crate) async fn download(&self) -> Result<[SemaphorePermit<'_>; 2], AcquireError> {
        let own = self.own.acquire().await?;
        Ok([own, self.lanes.downloads.acquire().await?])
    }

    /// Waits until the import may convert.
    pub(crate) async fn conversion(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.lanes.conversions.acquire().await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut projects = self.lanes.projects.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lane) = projects.get_mut(&self.project) else { return };
        lane.imports -= 1;
        if lane.imports == 0 {
            projects.remove(&self.project);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn project(number: u128) -> ProjectId {
        ProjectId::from_random(number)
    }

    #[test]
    fn a_project_has_so_many_imports_and_no_more() {
        let lanes = Lanes::new();
        let mut places: Vec<Place> = (0..PROJECT_IMPORTS).map(|_| lanes.enter(project(1)).unwrap()).collect();
        let refused = lanes.enter(project(1)).err().unwrap();
        assert!(matches!(refused, Error::LimitExceeded { limit: PROJECT_IMPORTS, .. }), "{refused}");
        assert!(lanes.enter(project(2)).is_ok());
        places.pop();
        assert!(lanes.enter(project(1)).is_ok());
        drop(places);
        assert!(lanes.projects.lock().unwrap().is_empty());
    }

    #[test]
    fn slow_downloads_of_one_project_hold_up_no_other_and_no_conversion() {
        let lanes = Lanes::new();
        let places: Vec<Place> = (0..3).map(|_| lanes.enter(project(1)).unwrap()).collect();
        let _one = places[0].download().now_or_never().unwrap().unwrap();
        let _two = places[1].download().now_or_never().unwrap().unwrap();
        assert!(places[2].download().now_or_never().is_none());
        let other = lanes.enter(project(2)).unwrap();
        assert!(other.download().now_or_never().is_some());
        assert!(other.conversion().now_or_never().is_some());
    }
}
