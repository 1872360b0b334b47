//! Snapshots that are taken while their guest holds still: what is asked for, what the guest's node says,
//! and the job that ends what nobody answers.

use std::time::Duration;

use tepui_db::model::{Freeze, FreezeStage, InstanceState, Snapshot};
use tepui_db::{FreezeNews, FreezeOutcome};
use tepui_types::agent::{FreezeObserved, FreezePart, FreezeState, PlacementObserved, WantedFreeze};
use tepui_types::{FreezeId, NodeId, SnapshotId, VolumeId};

use super::{CreateSnapshots, wrong_volume};
use crate::failpoint::pass;
use crate::{Caller, Cloud, Error, Kind};

/// After this a freeze has failed whose hosts have not all answered. Its node gives the guest 30 seconds at most, to
/// freeze and to be thawed; the rest is for their words to come.
const DEADLINE: Duration = Duration::from_secs(60);

impl Cloud {
    /// The node to wake.
    pub(super) async fn write_frozen(
        &self,
        snapshots: &[Snapshot],
        tags: &[(SnapshotId, String, String)],
    ) -> Result<Vec<NodeId>, Error> {
        let id = FreezeId::from_random(self.random());
        let invalid = |volume: VolumeId, rule: &str| Error::invalid("freeze", volume, rule);
        match self.db.freeze_snapshots(id, snapshots, tags, self.now()).await? {
            FreezeOutcome::Freezing(node) => Ok(vec![node]),
            FreezeOutcome::VolumeMissing(id) => Err(Error::not_found(Kind::Volume, id)),
            FreezeOutcome::VolumeState(id, state) => Err(wrong_volume(id, state)),
            FreezeOutcome::LocalRoot(volume) => Err(invalid(
                volume,
                "must not be a root disk that is local to its host, which is read for longer than a guest may hold still: \
                 leave it out (exclude_root), or take its snapshot without freeze",
            )),
            FreezeOutcome::NotRunning(volume) => Err(invalid(
                volume,
                "must be attached to a running instance, whose file systems are to hold still; what no guest writes needs no freeze",
            )),
            FreezeOutcome::OtherInstance(volume) => {
                Err(invalid(volume, "must be attached to the same instance as the others"))
            }
            FreezeOutcome::Busy(volume) => Err(Error::WrongState {
                id: volume.to_string(),
                state: "held still for another snapshot".into(),
                wanted: "not being held still",
            }),
        }
    }

    /// Refuses to have an instance paused one of whose hosts is silent: its node would pause nobody, and once a guest's CPUs have
    /// stopped, QEMU waits for all of its disks.
    pub(super) async fn check_hosts(&self, caller: &Caller, request: &CreateSnapshots) -> Result<(), Error> {
        let Some(id) = request.instance.filter(|_| request.volumes.len() > 1) else { return Ok(()) };
        let records = self.records(caller.project, &[id]).await?;
        let Some(record) = records.first().filter(|record| record.attachments.len() > 1) else {
            return Ok(());
        };
        let (InstanceState::Running, Some(placement)) = (record.instance.state, &record.placement) else {
            return Ok(());
        };
        let is_silent = |node: &NodeId| self.fleet.is_silent(*node, self.steady(), self.config.node_timeout);
        let refused = |id: String| Error::WrongState {
            id,
            state: "on a host that does not answer".into(),
            wanted: "all hosts of the instance and its volumes, as it is paused meanwhile: take those of single volumes",
        };
        if is_silent(&placement.node_id) {
            return Err(refused(id.to_string()));
        }
        for attachment in &record.attachments {
            let hosts = self.db.hosts_of_volumes(&[attachment.volume_id]).await?;
            if hosts.iter().any(is_silent) {
                return Err(refused(attachment.volume_id.to_string()));
            }
        }
        Ok(())
    }

    /// Applies what a node says of its guests that hold still; whether there was any news.
    pub(crate) async fn take_freezes(
        &self,
        node: NodeId,
        freezes: &[Freeze],
        seen: &[PlacementObserved],
    ) -> Result<bool, Error> {
        let news = freeze_news(freezes, seen);
        if news.is_empty() {
            return Ok(false);
        }
        let concerned = self.db.apply_freeze_news(node, &news).await?;
        let passed = pass("core::freeze::applied")?;
        self.wakes.wake(passed, concerned);
        pass("core::freeze::woken")?;
        Ok(true)
    }

    /// Ends freezes that nobody will; how many snapshots failed.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn expire_freezes(&self) -> Result<u32, Error> {
        // A clock that was set ahead gives nobody up early.
        let before = self.clock.earliest().checked_sub(DEADLINE).map_err(Error::internal)?;
        let (failed, concerned) = self.db.expire_freezes(before).await?;
        if !concerned.is_empty() {
            let passed = pass("core::freeze::expired")?;
            self.wakes.wake(passed, concerned);
        }
        Ok(failed)
    }
}

/// What a guest's node is told.
pub(crate) fn wanted(freeze: &Freeze) -> WantedFreeze {
    let wanted = match freeze.stage {
        FreezeStage::Freezing | FreezeStage::Frozen => FreezePart::Frozen,
        FreezeStage::Thawing => FreezePart::Thawed,
    };
    WantedFreeze { id: freeze.id, kind: freeze.kind, wanted }
}

/// What a node's word means that the books do not say yet.
fn freeze_news(freezes: &[Freeze], seen: &[PlacementObserved]) -> Vec<FreezeNews> {
    let one = |freeze: &Freeze| {
        let placement = seen.iter().find(|seen| seen.id == freeze.placement_id)?;
        let FreezeObserved { state, .. } = placement.freeze.as_ref().filter(|seen| seen.id == freeze.id)?;
        match (state, freeze.stage) {
            (FreezeState::Frozen, FreezeStage::Freezing) => Some(FreezeNews::Frozen(freeze.id)),
            (FreezeState::Frozen, FreezeStage::Frozen | FreezeStage::Thawing) => None,
            (FreezeState::Held, _) => Some(FreezeNews::Held(freeze.id)),
            (FreezeState::Failed { message } | FreezeState::Stuck { message }, _) => {
                Some(FreezeNews::Failed(freeze.id, message.clone()))
            }
        }
    };
    freezes.iter().filter_map(one).collect()
}
