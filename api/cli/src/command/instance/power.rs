//! Start, stop, reboot.

use std::time::Duration;

use clap::Args;
use tepui_types::endpoint::{RebootInstance, StartInstance, StopInstance};
use tepui_types::rest::{Empty, Instance, StopInstanceRequest};

use super::watch::{Target, until};
use super::{called, find};
use crate::aws::ShowAws;
use crate::complete::{Kind, names};
use crate::failure::Result;
use crate::session::Session;
use crate::wait::{Deadline, parse_duration};

/// Whether and how long to watch.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Watch {
    /// Answer at once; the work goes on
    #[arg(long)]
    no_wait: bool,
    /// How long to watch; then the exit code is 7
    #[arg(long, default_value = "5m", value_parser = parse_duration, allow_hyphen_values = true)]
    timeout: Duration,
}

/// Which instances to start.
#[derive(Debug, Args)]
pub struct Start {
    /// Names, ids or unique beginnings
    #[arg(required = true, add = names(Kind::Instance))]
    instances: Vec<String>,
    /// Watching.
    #[command(flatten)]
    watch: Watch,
    /// Equivalent command.
    #[command(flatten)]
    aws: ShowAws,
}

/// Which instances to stop, and how.
#[derive(Debug, Args)]
pub struct Stop {
    /// Names, ids or unique beginnings
    #[arg(required = true, add = names(Kind::Instance))]
    instances: Vec<String>,
    /// Pull the plug instead of asking the guest
    #[arg(long)]
    force: bool,
    /// Watching.
    #[command(flatten)]
    watch: Watch,
    /// Equivalent command.
    #[command(flatten)]
    aws: ShowAws,
}

/// Which instances to reboot.
#[derive(Debug, Args)]
pub struct Reboot {
    /// Names, ids or unique beginnings
    #[arg(required = true, add = names(Kind::Instance))]
    instances: Vec<String>,
    /// Equivalent command.
    #[command(flatten)]
    aws: ShowAws,
}

impl Watch {
    /// Watches all of them, one after the other, up to one deadline.
    pub(super) async fn all(
        self,
        instances: Vec<Instance>,
        target: Target,
        session: &mut Session,
    ) -> Result<Vec<Instance>> {
        if self.no_wait {
            return Ok(instances);
        }
        let deadline = Deadline::after(self.timeout);
        let mut seen = Vec::with_capacity(instances.len());
        for instance in instances {
            seen.push(until(instance, target, deadline, session).await?);
        }
        Ok(seen)
    }
}

/// Starts them.
pub(super) async fn start(start: Start, session: &mut Session) -> Result<()> {
    let found = all(&start.instances, session).await?;
    start.aws.say(session, &words("start-instances", &found));
    let mut started = Vec::with_capacity(found.len());
    for instance in found {
        started.push(session.call::<StartInstance>(&[&instance.id.to_string()], &Empty {}).await?);
    }
    let started = start.watch.all(started, Target::Running, session).await?;
    session.list(&started, "")
}

/// Stops them.
pub(super) async fn stop(stop: Stop, session: &mut Session) -> Result<()> {
    let found = all(&stop.instances, session).await?;
    let mut equivalent = words("stop-instances", &found);
    equivalent.extend(stop.force.then(|| "--force".to_owned()));
    stop.aws.say(session, &equivalent);
    let mut stopped = Vec::with_capacity(found.len());
    for instance in found {
        let request = StopInstanceRequest { force: stop.force };
        stopped.push(session.call::<StopInstance>(&[&instance.id.to_string()], &request).await?);
    }
    let stopped = stop.watch.all(stopped, Target::Stopped, session).await?;
    session.list(&stopped, "")
}

/// Reboots them. There is no state to wait for: a reboot is not seen from outside.
pub(super) async fn reboot(reboot: Reboot, session: &mut Session) -> Result<()> {
    let found = all(&reboot.instances, session).await?;
    reboot.aws.say(session, &words("reboot-instances", &found));
    let mut rebooted = Vec::with_capacity(found.len());
    for instance in found {
        rebooted.push(session.call::<RebootInstance>(&[&instance.id.to_string()], &Empty {}).await?);
    }
    let names: Vec<String> = rebooted.iter().map(called).collect();
    session.note(&format!("reboot asked for: {}", names.join(", ")));
    session.list(&rebooted, "")
}

/// Finds all before anything is done, so that a mistyped name changes nothing.
pub(super) async fn all(names: &[String], session: &mut Session) -> Result<Vec<Instance>> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        found.push(find(name, session).await?);
    }
    Ok(found)
}

/// The words of an `aws ec2` command on these instances.
pub(super) fn words(action: &str, instances: &[Instance]) -> Vec<String> {
    let head = [action.to_owned(), "--instance-ids".to_owned()];
    head.into_iter().chain(instances.iter().map(|instance| instance.id.to_string())).collect()
}
