//! Virtual machines.

mod choices;
mod clone;
mod destroy;
mod login;
mod look;
mod power;
mod run;
mod set;
mod user_data;
mod watch;

use clap::Subcommand;
use tepui_types::endpoint::{ListInstances, ShowInstance};
use tepui_types::rest::{Empty, Health, Instance, InstanceState, ListInstancesRequest};

use super::{Finish, or_dash, word};
use crate::aws::ShowAws;
use crate::cli::examples;
use crate::complete::{Kind, names};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::output::Shown;
use crate::session::Session;
use crate::suggest::nearest;

pub(super) use set::Switch;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Launch an instance one can log in to
    #[command(before_help = examples!("tepui instance run debian-12", "tepui instance run debian-12 --name web --type t3.small --user-data setup.sh"))]
    Run(Box<run::Run>),
    /// Make another instance with the disks that one has now
    #[command(before_help = examples!("tepui instance clone web web-2", "tepui instance clone db db-test --type t3.small"))]
    #[command(
        long_about = "Make another instance with the disks that one has now. The one may run: its clone finds what a power cut would leave. Its root disk becomes a volume: where it is local to its host, one of the usual class, for which the cloud needs a pool. Type, keys, security groups and tags are the same; addresses, and the user data, which did its work on the disk already, are not."
    )]
    Clone(clone::Clone),
    /// List instances
    #[command(before_help = examples!("tepui instance list", "tepui instance list --json=name,state,public_ip"))]
    List {
        /// Also those terminated within the last hour
        #[arg(long)]
        all: bool,
        /// Equivalent command.
        #[command(flatten)]
        aws: ShowAws,
    },
    /// Show an instance
    #[command(before_help = examples!("tepui instance show web", "tepui instance show web --json=public_ip"))]
    Show {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::Instance))]
        instance: String,
    },
    /// Start stopped instances
    #[command(before_help = examples!("tepui instance start web", "tepui instance start web db --no-wait"))]
    Start(power::Start),
    /// Stop instances; disks and addresses stay
    #[command(before_help = examples!("tepui instance stop web", "tepui instance stop web --force"))]
    Stop(power::Stop),
    /// Reboot running instances
    #[command(before_help = examples!("tepui instance reboot web", "tepui instance reboot web db"))]
    Reboot(power::Reboot),
    /// Terminate instances; their root disks go with them, and volumes that are to
    #[command(before_help = examples!("tepui instance delete web", "tepui instance delete web db --yes"))]
    Delete(destroy::Delete),
    /// Change attributes of an instance
    #[command(before_help = examples!("tepui instance set web --termination-protection on", "tepui instance set web --type t3.large"))]
    Set(set::Set),
    /// Wait until an instance is in a state
    #[command(before_help = examples!("tepui instance wait web --for running", "tepui instance wait web --for stopped --timeout 60s"))]
    Wait(watch::Wait),
    /// Show the end of an instance's serial console
    #[command(before_help = examples!("tepui instance console web", "tepui instance console web --cached"))]
    Console(look::Console),
    /// Log in, or run a command there
    #[command(before_help = examples!("tepui instance ssh web", "tepui instance ssh web -- uname -a"))]
    Ssh(login::Ssh),
    /// Tell why an instance is where it is, and what helps
    #[command(before_help = examples!("tepui instance explain web", "tepui instance explain web --json=facts"))]
    Explain {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::Instance))]
        instance: String,
    },
    /// List what was done to an instance: who, when, what
    #[command(before_help = examples!("tepui instance events web", "tepui instance events web --limit 10"))]
    Events(look::Events),
}

impl Shown for Instance {
    const COLUMNS: &'static [&'static str] =
        &["name", "id", "state", "type", "image", "public ip", "private ip"];

    fn cells(&self) -> Vec<String> {
        vec![
            or_dash(self.name.as_ref()),
            self.id.to_string(),
            state(self),
            self.instance_type.clone(),
            self.image_name.clone().unwrap_or_else(|| self.image_id.to_string()),
            or_dash(self.public_ip.as_ref()),
            or_dash(self.private_ip.as_ref()),
        ]
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// The state, and a mark when its node is not well.
fn state(instance: &Instance) -> String {
    match instance.health {
        Health::Ok => word(&instance.state),
        Health::Unknown | Health::Impaired => {
            format!("{} ({})", word(&instance.state), word(&instance.health))
        }
    }
}

/// What people call it: its name, or its id without one.
fn called(instance: &Instance) -> String {
    instance.name.clone().unwrap_or_else(|| instance.id.to_string())
}

/// Runs one of them.
///
/// # Errors
/// What the command met.
pub async fn run(verb: Verb, session: &mut Session) -> Result<Finish> {
    match verb {
        Verb::Run(run) => return run::run(*run, session).await,
        Verb::Clone(clone) => clone::run(clone, session).await,
        Verb::Ssh(ssh) => return login::run(ssh, session).await,
        Verb::List { all, aws } => list(all, aws, session).await,
        Verb::Show { instance } => {
            let instance = find(&instance, session).await?;
            session.show(&instance)
        }
        Verb::Start(start) => power::start(start, session).await,
        Verb::Stop(stop) => power::stop(stop, session).await,
        Verb::Reboot(reboot) => power::reboot(reboot, session).await,
        Verb::Delete(delete) => destroy::run(delete, session).await,
        Verb::Set(set) => set::run(set, session).await,
        Verb::Wait(wait) => watch::run(wait, session).await,
        Verb::Console(console) => look::console(console, session).await,
        Verb::Explain { instance } => look::explain(&instance, session).await,
        Verb::Events(events) => look::events(events, session).await,
    }?;
    Ok(Finish::Exit(Exit::Ok))
}

async fn list(all: bool, aws: ShowAws, session: &mut Session) -> Result<()> {
    aws.say(session, &["describe-instances".into()]);
    let list = session.call::<ListInstances>(&[], &ListInstancesRequest { terminated: all }).await?;
    session.list(&list.items, "No instances yet. Launch one: tepui instance run debian-12")
}

/// The instance that `word` means; a mistyped name gets the nearest one.
async fn find(word: &str, session: &mut Session) -> Result<Instance> {
    match session.call::<ShowInstance>(&[word], &Empty {}).await {
        Err(failure) if failure.exit == Exit::NotFound => Err(suggest(failure, word, session).await),
        found => found,
    }
}

async fn suggest(failure: Failure, word: &str, session: &mut Session) -> Failure {
    let request = ListInstancesRequest { terminated: false };
    let Ok(list) = session.call::<ListInstances>(&[], &request).await else { return failure };
    match nearest(list.items.iter().map(called), word) {
        Some(name) => failure.why(format!("did you mean '{name}'?")).docs("tepui help names"),
        None if failure.try_.is_empty() => failure.try_("tepui instance list").docs("tepui help names"),
        None => failure,
    }
}

/// Whether it is on its way out or gone.
fn is_ending(state: InstanceState) -> bool {
    match state {
        InstanceState::ShuttingDown | InstanceState::Terminated => true,
        InstanceState::Pending
        | InstanceState::Running
        | InstanceState::Stopping
        | InstanceState::Stopped => false,
    }
}
