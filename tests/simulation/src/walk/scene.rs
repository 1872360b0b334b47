//! The states that the walk begins in: each state of an instance, and within it each point at which the
//! host's work towards it may have been cut off.

use tepui_agent::execute::{Step, stages_of};
use tepui_agent::plan::Operation;
use tepui_db::model::InstanceState;

/// Where an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scene {
    pub(super) state: InstanceState,
    pub(super) stage: Stage,
}

/// How far its host came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It was not told yet, or has nothing to do.
    Untold,
    /// It was told, and failed at this step of this operation.
    Before(Operation, Step),
}

impl Scene {
    /// All scenes, of every state.
    pub(super) fn all() -> Vec<Self> {
        InstanceState::ALL.iter().flat_map(|state| Self::of(*state)).collect()
    }

    fn of(state: InstanceState) -> Vec<Self> {
        let steps = operations(state).iter().flat_map(|operation| {
            let steps = stages_of(*operation).iter().copied().flatten();
            steps.map(move |step| Stage::Before(*operation, *step))
        });
        std::iter::once(Stage::Untold).chain(steps).map(|stage| Self { state, stage }).collect()
    }

    /// The host works on this operation.
    pub(super) fn operation(self) -> Option<Operation> {
        match self.stage {
            Stage::Untold => None,
            Stage::Before(operation, _) => Some(operation),
        }
    }

    /// The guest went off by itself, and nobody has written that down.
    pub(super) fn guest_is_off(self) -> bool {
        self.operation() == Some(Operation::Note)
    }
}

/// What the host may have in work in a state.
fn operations(state: InstanceState) -> &'static [Operation] {
    match state {
        InstanceState::Pending => &[Operation::Start],
        InstanceState::Running => &[Operation::Reboot, Operation::Note],
        InstanceState::Stopping => &[Operation::Stop, Operation::PowerOff],
        InstanceState::ShuttingDown => &[Operation::Stop, Operation::PowerOff, Operation::Remove],
        InstanceState::Stopped | InstanceState::Terminated => &[],
    }
}

/// The state in which an instance comes to rest that is in this one, if all goes well.
pub(super) fn goal(state: InstanceState) -> InstanceState {
    match state {
        InstanceState::Pending | InstanceState::Running => InstanceState::Running,
        InstanceState::Stopping | InstanceState::Stopped => InstanceState::Stopped,
        InstanceState::ShuttingDown | InstanceState::Terminated => InstanceState::Terminated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_of_every_operation_is_cut_off_in_some_scene() {
        let scenes = Scene::all();
        for (operation, step) in tepui_agent::execute::steps() {
            let stage = Stage::Before(operation, step);
            assert!(scenes.iter().any(|scene| scene.stage == stage), "{stage:?}");
        }
    }
}
