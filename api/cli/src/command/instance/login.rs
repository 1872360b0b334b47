//! Logging in.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tepui_types::endpoint::{ListSecurityGroups, Whoami};
use tepui_types::rest::{Empty, Instance, InstanceState, SecurityGroup};

use super::{called, find};
use crate::aws::shell_line;
use crate::command::security_group::lets_ssh_in;
use crate::command::{Finish, word};
use crate::complete::{Kind, names};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::local::{KeyStore, Login, answers};
use crate::session::Session;
use crate::wait::{Deadline, parse_duration};

/// Where to log in, as whom, and what to run there.
#[derive(Debug, Args)]
pub struct Ssh {
    /// Name, id or a unique beginning
    #[arg(add = names(Kind::Instance))]
    instance: String,
    /// Run this there instead of a shell
    #[arg(last = true)]
    command: Vec<OsString>,
    /// Log in as this user instead of the image's
    #[arg(long)]
    user: Option<String>,
    /// Private key to log in with instead of the launch's, for example one that user data lets in
    #[arg(long, short = 'i', value_name = "FILE")]
    identity: Option<PathBuf>,
    /// How long to wait until the guest answers; then the exit code is 7
    #[arg(long, default_value = "2m", value_parser = parse_duration, allow_hyphen_values = true)]
    timeout: Duration,
}

/// Waits until the guest answers, if it can, and becomes ssh.
pub(super) async fn run(ssh: Ssh, session: &mut Session) -> Result<Finish> {
    let instance = find(&ssh.instance, session).await?;
    if instance.state != InstanceState::Running {
        return Err(not_running(&instance));
    }
    let login = login(&instance, ssh.user, ssh.identity, session).await?;
    enter(&instance, &login, Deadline::after(ssh.timeout), &ssh.command, session).await
}

/// Waits until the guest's SSH server greets, then hands over to ssh.
pub(super) async fn enter(
    instance: &Instance,
    login: &Login,
    deadline: Deadline,
    command: &[OsString],
    session: &mut Session,
) -> Result<Finish> {
    let name = called(instance);
    let mut progress = session.progress();
    if !answers(login.address).await {
        progress.stage("ssh", &format!("waiting for {}", login.address));
        progress.go_on(format!(
            "stopped waiting; the guest boots on. To try again:\n  tepui instance ssh {name}"
        ));
    }
    while !answers(login.address).await {
        let what = format!("ssh on '{name}' at {}", login.address);
        let again = format!("tepui instance ssh {name}");
        deadline.pause(&what, &again).await.map_err(|failure| closed(failure, &name))?;
    }
    progress.done();
    Ok(Finish::Exec(login.command(command)))
}

/// Everything that ssh needs for this instance, if one can log in to it at all. With an `identity` of
/// the user's own it needs no key pair.
pub(super) async fn login(
    instance: &Instance,
    user: Option<String>,
    identity: Option<PathBuf>,
    session: &mut Session,
) -> Result<Login> {
    let address = address(instance)?;
    if instance.key_name.is_none() && identity.is_none() {
        return Err(no_key(instance));
    }
    reachable(instance, session).await?;
    let user = user.or_else(|| instance.login_user.clone()).ok_or_else(|| no_user(instance))?;
    let project = session.call::<Whoami>(&[], &Empty {}).await?.project.id.to_string();
    let store = KeyStore::new(&session.world.data_dir);
    let own = || instance.key_name.as_deref().map(|name| store.path(&project, name));
    let key = identity.or_else(|| own().filter(|path| path.exists()));
    let (known_hosts, host_key_alias) = (known_hosts(session)?, instance.id.to_string());
    Ok(Login { user, address: address.into(), key, host_key_alias, known_hosts })
}

/// The ssh command as a line to paste.
pub(super) fn line(login: &Login) -> String {
    let words: Vec<String> =
        login.command(&[]).iter().map(|word| word.to_string_lossy().into_owned()).collect();
    shell_line(words.iter().map(String::as_str))
}

/// One file for each cloud, in a folder only its user can read.
fn known_hosts(session: &Session) -> Result<PathBuf> {
    let folder = session.world.data_dir.join("known_hosts");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|e| Failure::io(folder.display(), &e))?;
    let cloud = url::Url::parse(session.url()?).ok();
    let authority = cloud.map(|url| url.authority().replace([':', '/', '[', ']'], "_")).unwrap_or_default();
    Ok(folder.join(authority))
}

fn address(instance: &Instance) -> Result<Ipv4Addr> {
    let name = called(instance);
    instance.public_ip.ok_or_else(|| {
        let failure = Failure::failed(format!("'{name}' has no public address to log in to"));
        let private = instance.private_ip.map(|ip| format!("its address {ip} is reached from its VPC only"));
        private
            .into_iter()
            .fold(failure, Failure::why)
            .why("it was launched without one, or the cloud has no pool of public addresses")
            .try_(format!("tepui instance console {name}"))
            .docs("tepui help instance ssh")
    })
}

fn no_key(instance: &Instance) -> Failure {
    let name = called(instance);
    Failure::failed(format!("'{name}' has no key pair, so that it lets no key of yours in"))
        .why("it was launched without one, and a key pair cannot be added later")
        .try_(format!(
            "tepui instance ssh {name} --identity FILE     (if its image or user data lets a key in)"
        ))
        .try_(format!("tepui instance console {name}"))
        .docs("tepui help instance ssh")
}

/// Whether any rule of its groups lets ssh in, from wherever.
async fn reachable(instance: &Instance, session: &mut Session) -> Result<()> {
    let mut groups = session.call::<ListSecurityGroups>(&[], &Empty {}).await?.items;
    groups.retain(|group| instance.group_ids.contains(&group.id));
    if groups.iter().flat_map(|group| &group.rules).any(lets_ssh_in) {
        return Ok(());
    }
    Err(shut(instance, &groups))
}

fn shut(instance: &Instance, groups: &[SecurityGroup]) -> Failure {
    let (name, docs) = (called(instance), "tepui help security-group allow");
    let failure =
        Failure::failed(format!("the security groups of '{name}' let no ssh in from anywhere")).docs(docs);
    let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    let failure = failure.why(format!("no rule of {} lets TCP port 22 in", names.join(", ")));
    match names.first() {
        Some(group) => failure
            .try_(format!("tepui security-group allow {group} --tcp 22     (from everywhere)"))
            .try_(format!("tepui security-group allow {group} --tcp 22 --from ADDRESS/32")),
        None => failure.try_(format!("tepui instance set {name} --security-group GROUP")),
    }
}

fn not_running(instance: &Instance) -> Failure {
    let (name, state) = (called(instance), word(&instance.state));
    let failure =
        Failure::failed(format!("'{name}' is {state}; only a running instance can be logged in to"));
    let failure = failure.docs("tepui help instance ssh");
    match instance.state {
        InstanceState::Stopped => failure.try_(format!("tepui instance start {name}")),
        InstanceState::Pending => failure.try_(format!("tepui instance wait {name} --for running")),
        InstanceState::Running
        | InstanceState::Stopping
        | InstanceState::ShuttingDown
        | InstanceState::Terminated => failure.try_("tepui instance list"),
    }
}

fn no_user(instance: &Instance) -> Failure {
    Failure::new(Exit::Usage, format!("the user to log in to '{}' as is not known", called(instance)))
        .why("its image is withdrawn")
        .try_(format!("tepui instance ssh {} --user debian", called(instance)))
        .docs("tepui help instance ssh")
}

fn closed(failure: Failure, name: &str) -> Failure {
    failure
        .why("it may still boot, run no SSH server, or its security groups may not let you in from here")
        .try_(format!("tepui instance console {name}"))
}
