//! Termination.

use clap::Args;
use tepui_types::endpoint::TerminateInstance;
use tepui_types::rest::{Empty, Instance};

use super::power::{Watch, all, words};
use super::watch::Target;
use super::{called, state};
use crate::aws::ShowAws;
use crate::complete::{Kind, names};
use crate::confirm::Destroy;
use crate::failure::{Failure, Result};
use crate::session::Session;

/// Which instances to terminate.
#[derive(Debug, Args)]
pub struct Delete {
    /// Names, ids or unique beginnings
    #[arg(required = true, add = names(Kind::Instance))]
    instances: Vec<String>,
    /// Confirmation.
    #[command(flatten)]
    destroy: Destroy,
    /// Watching.
    #[command(flatten)]
    watch: Watch,
    /// Equivalent command.
    #[command(flatten)]
    aws: ShowAws,
}

/// Terminates them. Protection is looked at first, so that one protected instance keeps all.
pub(super) async fn run(delete: Delete, session: &mut Session) -> Result<()> {
    let found = all(&delete.instances, session).await?;
    if let Some(instance) = found.iter().find(|instance| instance.disable_api_termination) {
        return Err(protected(instance));
    }
    let inventory: Vec<String> = found.iter().flat_map(inventory).collect();
    delete.aws.say(session, &words("terminate-instances", &found));
    for instance in &found {
        session.rehearse::<TerminateInstance>(&[&instance.id.to_string()], &Empty {}).await?;
    }
    if !delete.destroy.settle(session, &inventory, &to_type(&found)).await? {
        return Ok(());
    }
    let mut ending = Vec::with_capacity(found.len());
    for instance in found {
        ending.push(session.call::<TerminateInstance>(&[&instance.id.to_string()], &Empty {}).await?);
    }
    let gone = delete.watch.all(ending, Target::Terminated, session).await?;
    session.list(&gone, "")
}

fn protected(instance: &Instance) -> Failure {
    let name = called(instance);
    Failure::failed(format!("'{name}' is protected from termination; nothing was deleted"))
        .try_(format!("tepui instance set {name} --termination-protection off"))
        .docs("tepui help instance set")
}

fn inventory(instance: &Instance) -> Vec<String> {
    let kind = format!("{}, {}", instance.instance_type, state(instance));
    let head = format!("deletes: instance {} ({}, {kind})", called(instance), instance.id);
    let disk = instance.root_volume_id.map(|volume| {
        format!("deletes: its root disk ({volume}, {} GiB)", instance.root_gib.unwrap_or_default())
    });
    let private = instance.private_ip.map(|address| format!("releases: its private address {address}"));
    let public = instance.public_ip.map(|address| format!("releases: its public address {address}"));
    [Some(head), disk, private, public].into_iter().flatten().collect()
}

/// What a person types: the one name, or how many.
fn to_type(found: &[Instance]) -> String {
    match found {
        [one] => called(one),
        several => format!("{} instances", several.len()),
    }
}
