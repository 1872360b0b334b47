//! What a client asks of a cloud, and how it is known to be done.

use serde_json::{Value, json};
use tepui_agent::plan::Operation;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Run,
    Start,
    Stop,
    ForceStop,
    Reboot,
    Terminate,
}

impl Verb {
    pub(crate) const ALL: [Self; 6] =
        [Self::Run, Self::Start, Self::Stop, Self::ForceStop, Self::Reboot, Self::Terminate];

    /// The call of boto3.
    pub(crate) fn call(self) -> &'static str {
        match self {
            Self::Run => "run_instances",
            Self::Start => "start_instances",
            Self::Stop | Self::ForceStop => "stop_instances",
            Self::Reboot => "reboot_instances",
            Self::Terminate => "terminate_instances",
        }
    }

    /// Parameters of the call for an instance that is there.
    pub(crate) fn parameters(self, id: &str) -> Value {
        match self {
            Self::ForceStop => json!({ "InstanceIds": [id], "Force": true }),
            Self::Run | Self::Start | Self::Stop | Self::Reboot | Self::Terminate => {
                json!({ "InstanceIds": [id] })
            }
        }
    }

    /// The list of [`tepui_core::failpoint::STEPS`] that the call passes.
    pub(crate) fn steps_in_core(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Start => "start",
            Self::Stop | Self::ForceStop => "stop",
            Self::Reboot => "reboot",
            Self::Terminate => "terminate",
        }
    }

    /// Whether the agent's reports of it change the instance's state. A reboot leaves it running.
    pub(crate) fn is_reported(self) -> bool {
        match self {
            Self::Run | Self::Start | Self::Stop | Self::ForceStop | Self::Terminate => true,
            Self::Reboot => false,
        }
    }

    /// The agent's operations that carry it out.
    pub(crate) fn operations(self) -> &'static [Operation] {
        match self {
            Self::Run | Self::Start => &[Operation::Start],
            Self::Stop => &[Operation::Stop, Operation::Note],
            Self::ForceStop => &[Operation::PowerOff, Operation::Note],
            Self::Reboot => &[Operation::Reboot],
            Self::Terminate => &[Operation::Stop, Operation::Remove],
        }
    }

    /// The instance's state when it is done.
    pub(crate) fn state(self) -> &'static str {
        match self {
            Self::Run | Self::Start | Self::Reboot => "running",
            Self::Stop | Self::ForceStop => "stopped",
            Self::Terminate => "terminated",
        }
    }

    /// How often the guest was started in its life when it is done.
    pub(crate) fn starts(self) -> u64 {
        match self {
            Self::Run | Self::Stop | Self::ForceStop | Self::Reboot | Self::Terminate => 1,
            Self::Start => 2,
        }
    }
}
