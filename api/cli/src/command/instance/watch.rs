//! Watching instances until they are in a state.

use std::time::Duration;

use clap::{Args, ValueEnum};
use tepui_client::Client;
use tepui_types::endpoint::ShowInstance;
use tepui_types::rest::{Empty, Instance, InstanceState};

use super::{called, find, is_ending};
use crate::command::word;
use crate::complete::{Kind, names};
use crate::failure::{Failure, Result};
use crate::progress::Progress;
use crate::session::Session;
use crate::wait::{Deadline, parse_duration};

/// What to wait for.
#[derive(Debug, Args)]
pub struct Wait {
    /// Name, id or a unique beginning
    #[arg(add = names(Kind::Instance))]
    instance: String,
    /// The state
    #[arg(long = "for", value_name = "STATE")]
    target: Target,
    /// How long; then the exit code is 7
    #[arg(long, default_value = "5m", value_parser = parse_duration, allow_hyphen_values = true)]
    timeout: Duration,
}

/// The states that last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Target {
    /// The virtual machine runs
    Running,
    /// Off, disks kept
    Stopped,
    /// Gone
    Terminated,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Terminated => "terminated",
        }
    }

    fn reached(self, state: InstanceState) -> bool {
        match self {
            Self::Running => state == InstanceState::Running,
            Self::Stopped => state == InstanceState::Stopped,
            Self::Terminated => state == InstanceState::Terminated,
        }
    }

    /// Whether the state can no longer come without another command. A stopping instance that is
    /// to run was started and stopped again, or stopped itself.
    fn out_of_reach(self, state: InstanceState) -> bool {
        match self {
            Self::Running => is_ending(state) || state == InstanceState::Stopped,
            Self::Stopped => is_ending(state),
            Self::Terminated => false,
        }
    }
}

/// Waits, and shows the instance.
///
/// # Errors
/// The deadline passed or the state is out of reach.
pub(super) async fn run(wait: Wait, session: &mut Session) -> Result<()> {
    let instance = find(&wait.instance, session).await?;
    let instance = until(instance, wait.target, Deadline::after(wait.timeout), session).await?;
    session.show(&instance)
}

/// Watches until `instance` is in the state, with a progress line for each change.
pub(super) async fn until(
    mut instance: Instance,
    target: Target,
    deadline: Deadline,
    session: &mut Session,
) -> Result<Instance> {
    let client = session.client()?;
    let go_on = format!("tepui instance wait {} --for {}", called(&instance), target.name());
    let mut progress = session.progress();
    progress.go_on(format!("stopped watching; the work goes on. To watch again:\n  {go_on}"));
    loop {
        tell(&instance, &mut progress);
        if target.reached(instance.state) {
            break;
        }
        if target.out_of_reach(instance.state) {
            return Err(out_of_reach(&instance, target));
        }
        let what = format!("'{}' to be {}", called(&instance), target.name());
        deadline.pause(&what, &go_on).await.map_err(|failure| last_words(failure, &instance))?;
        instance = look(&client, &instance).await?;
    }
    progress.done();
    Ok(instance)
}

async fn look(client: &Client, instance: &Instance) -> Result<Instance> {
    Ok(client.call::<ShowInstance>(&[&instance.id.to_string()], &Empty {}).await?)
}

/// The node's last word while it works, the state otherwise.
fn tell(instance: &Instance, progress: &mut Progress<'_>) {
    let state = word(&instance.state);
    let (stage, detail) = match (&instance.observed, instance.state) {
        (Some(observed), InstanceState::Pending) => stage(observed),
        (None, InstanceState::Pending) if instance.placement_id.is_some() => ("placed", ""),
        (_, InstanceState::Running) => ("running", address(instance)),
        (Some(_) | None, _) => (state.as_str(), ""),
    };
    let node = instance.node_id.map(|node| node.to_string()).unwrap_or_default();
    progress.stage(stage, if stage == "placed" { &node } else { detail });
}

fn address(instance: &Instance) -> &'static str {
    if instance.public_ip.is_some() { "with a public address" } else { "" }
}

/// `preparing: image 41 %` is the stage `image` at `41 %`.
fn stage(observed: &str) -> (&str, &str) {
    let step = observed.strip_prefix("preparing: ").unwrap_or(observed);
    step.split_once(' ').unwrap_or((step, ""))
}

fn out_of_reach(instance: &Instance, target: Target) -> Failure {
    let name = called(instance);
    let failure = Failure::failed(format!("'{name}' is {}, not {}", word(&instance.state), target.name()));
    let failure = instance.state_reason.iter().fold(failure, |failure, reason| failure.why(reason));
    let start = instance.state == InstanceState::Stopped && target == Target::Running;
    failure.try_(format!("tepui instance {} {name}", if start { "start" } else { "explain" }))
}

/// A wait that ended too early says what was seen last and where to look.
fn last_words(failure: Failure, instance: &Instance) -> Failure {
    let failure = failure.why(format!("its state is {}", word(&instance.state)));
    let failure =
        instance.observed.iter().fold(failure, |failure, said| failure.why(format!("its node says: {said}")));
    failure.try_(format!("tepui instance explain {}", called(instance)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_words_become_stage_and_detail() {
        assert_eq!(stage("preparing: image 41 %"), ("image", "41 %"));
        assert_eq!(stage("preparing: domain"), ("domain", ""));
        assert_eq!(stage("running"), ("running", ""));
    }

    #[test]
    fn what_cannot_come_any_more_is_not_waited_for() {
        assert!(Target::Running.out_of_reach(InstanceState::Terminated));
        assert!(Target::Running.out_of_reach(InstanceState::Stopped));
        assert!(!Target::Running.out_of_reach(InstanceState::Pending));
        assert!(Target::Stopped.out_of_reach(InstanceState::ShuttingDown));
        assert!(!Target::Terminated.out_of_reach(InstanceState::Running));
    }
}
