//! What can happen to an instance in any state.

use tepui_db::model::InstanceRequest;

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// A client asks for something.
    Ask(InstanceRequest, Way),
    /// A client asks for a stop that does not ask the guest.
    ForceStop,
    /// A client that got no answer repeats the call which led here.
    Retry,
    /// Something fails.
    Fault(Fault),
}

/// How a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It is answered.
    Answered,
    /// Its answer is lost, and the client repeats it.
    AnswerLost,
    /// The control plane is killed at this point, and the client repeats the call.
    KilledAt(&'static str),
}

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// `kill -9` of the control plane.
    ControlDies,
    /// `kill -9` of the agent.
    AgentDies,
    /// The host loses power.
    HostReboots,
    /// The agent's poll is answered, and the answer is lost.
    PollReplyLost,
    /// The agent's report is taken, and the answer is lost.
    ReportReplyLost,
    /// A report arrives after the next one.
    ReportLate,
}

const FAULTS: [Fault; 6] = [
    Fault::ControlDies,
    Fault::AgentDies,
    Fault::HostReboots,
    Fault::PollReplyLost,
    Fault::ReportReplyLost,
    Fault::ReportLate,
];

impl Act {
    /// Everything.
    pub(super) fn all() -> Vec<Self> {
        let asked = InstanceRequest::ALL.iter().flat_map(|request| {
            let killed = points(request.name()).iter().map(|point| Way::KilledAt(point));
            let ways = [Way::Answered, Way::AnswerLost].into_iter().chain(killed);
            ways.map(|way| Self::Ask(*request, way))
        });
        asked.chain([Self::ForceStop, Self::Retry]).chain(FAULTS.map(Self::Fault)).collect()
    }
}

/// The fail points of an operation of the control plane.
pub(super) fn points(operation: &str) -> &'static [&'static str] {
    let steps = tepui_core::failpoint::STEPS.iter().find(|(name, _)| *name == operation);
    steps.map_or(&[], |(_, steps)| steps)
}
