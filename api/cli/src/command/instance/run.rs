//! From an image's name to an instance one can log in to.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use data_encoding::HEXLOWER;
use tepui_types::SnapshotId;
use tepui_types::endpoint::{PutTags, RunInstances};
use tepui_types::rest::{Instance, PutTagsRequest, RunInstancesRequest};

use super::choices::Choices;
use super::watch::{Target, until};
use super::{called, login, user_data};
use crate::aws::ShowAws;
use crate::command::Finish;
use crate::command::tag::parse_tag;
use crate::complete::{Kind, names};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::output::Format;
use crate::session::Session;
use crate::wait::{Deadline, parse_duration};

/// What to launch. Everything but the image has a default.
#[derive(Debug, Args)]
pub struct Run {
    /// Image: name, id or a unique beginning
    #[arg(add = names(Kind::Image))]
    pub(super) image: String,
    /// Name of the instance [default: the image's and a number]
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Instance type [default: t3.micro, or the smallest that fits]
    #[arg(long = "type", value_name = "TYPE", add = names(Kind::InstanceType))]
    pub(super) instance_type: Option<String>,
    /// How many; they are called NAME-1, NAME-2, ...
    #[arg(long, default_value_t = 1, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// A script or cloud-init configuration for the first boot, at most 16 KiB
    #[arg(long, value_name = "FILE")]
    user_data: Option<PathBuf>,
    /// Key pair [default: one of this machine, made at the first launch]
    #[arg(long, add = names(Kind::KeyPair))]
    pub(super) key_name: Option<String>,
    /// Security group; may be repeated [default: one that lets ssh in]
    #[arg(long = "security-group", value_name = "GROUP", add = names(Kind::SecurityGroup))]
    pub(super) security_groups: Vec<String>,
    /// Size of the root disk in GiB [default: the image's]
    #[arg(long, value_name = "GIB", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) root_size: Option<u32>,
    /// Boot from a volume of this class of pools [default: a disk of the node]
    #[arg(long, value_name = "CLASS")]
    root_class: Option<String>,
    /// Boot from a volume made of this snapshot
    #[arg(long, value_name = "SNAPSHOT")]
    root_snapshot: Option<SnapshotId>,
    /// Keep the volume it boots from when the instance is deleted
    #[arg(long)]
    keep_root: bool,
    /// Size in GiB of a disk for files on the node, empty after each start that follows a stop [default: none]
    #[arg(long, value_name = "GIB", conflicts_with = "show_aws", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    scratch: Option<u32>,
    /// Size in GiB of such a disk to swap to [default: none]
    #[arg(long, value_name = "GIB", conflicts_with = "show_aws", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    swap: Option<u32>,
    /// Placement group
    #[arg(long, value_name = "GROUP", add = names(Kind::PlacementGroup))]
    placement_group: Option<String>,
    /// Tag; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
    /// Log in as soon as it answers
    #[arg(long, conflicts_with = "no_wait")]
    ssh: bool,
    /// Answer at once; the work goes on
    #[arg(long)]
    no_wait: bool,
    /// How long to watch until it runs; then the exit code is 7
    #[arg(long, default_value = "5m", value_parser = parse_duration, allow_hyphen_values = true)]
    timeout: Duration,
    /// Equivalent command.
    #[command(flatten)]
    aws: ShowAws,
}

/// Launches, watches, and ends with the ssh line.
pub(super) async fn run(run: Run, session: &mut Session) -> Result<Finish> {
    let user_data = run.user_data.as_deref().map(user_data::read).transpose()?;
    let choices = Choices::make(&run, session).await?;
    if session.format != Format::Ids {
        session.note(&choices.table());
    }
    let launched = match choices.present.as_slice() {
        [] => launch(&run, &choices, user_data, session).await?,
        present => vec![repeated(&run, &choices, present)?],
    };
    let deadline = Deadline::after(run.timeout);
    let instances = if run.no_wait { launched } else { watch(launched, deadline, session).await? };
    session.list(&instances, "")?;
    finish(&run, &instances, deadline, session).await
}

async fn launch(
    run: &Run,
    choices: &Choices,
    user_data: Option<String>,
    session: &mut Session,
) -> Result<Vec<Instance>> {
    let request = request(run, choices, user_data, session);
    run.aws.say(session, &words(run, choices));
    let launched = session.call::<RunInstances>(&[], &request).await?.items;
    if run.count == 1 { Ok(launched) } else { number(launched, &choices.name, session).await }
}

fn request(
    run: &Run,
    choices: &Choices,
    user_data: Option<String>,
    session: &Session,
) -> RunInstancesRequest {
    RunInstancesRequest {
        image: choices.image.id.to_string(),
        instance_type: Some(choices.instance_type.clone()),
        count: Some(run.count),
        name: Some(choices.name.clone()),
        key_pair: Some(choices.key_name.clone()),
        user_data,
        groups: choices.groups.clone(),
        root_gib: run.root_size,
        root_class: run.root_class.clone(),
        root_snapshot: run.root_snapshot,
        root_delete_on_termination: run.keep_root.then_some(false),
        scratch_gib: run.scratch,
        swap_gib: run.swap,
        placement_group: run.placement_group.clone(),
        tags: run.tags.iter().cloned().collect(),
        client_token: Some(HEXLOWER.encode(&(session.world.random)())),
        ..RunInstancesRequest::default()
    }
}

/// Several instances of one launch get names that tell them apart.
async fn number(launched: Vec<Instance>, name: &str, session: &mut Session) -> Result<Vec<Instance>> {
    let mut numbered = Vec::with_capacity(launched.len());
    for (number, instance) in (1u32..).zip(launched) {
        let name = format!("{name}-{number}");
        let tags = [("Name".to_owned(), name.clone())].into();
        session.call::<PutTags>(&[], &PutTagsRequest { resource: instance.id.to_string(), tags }).await?;
        numbered.push(Instance { name: Some(name), ..instance });
    }
    Ok(numbered)
}

/// The name is taken: the same launch once more answers with what is there.
fn repeated(run: &Run, choices: &Choices, present: &[Instance]) -> Result<Instance> {
    let [instance] = present else {
        return Err(Failure::failed(format!(
            "{} instances are called '{}' already",
            present.len(),
            choices.name
        ))
        .try_("the same command with another --name")
        .docs("tepui help names"));
    };
    if run.count > 1 {
        return Err(Failure::failed(format!("an instance is called '{}' already", choices.name))
            .try_("the same command with another --name")
            .docs("tepui help names"));
    }
    choices.same_as(instance, run)?;
    Ok(instance.clone())
}

async fn watch(launched: Vec<Instance>, deadline: Deadline, session: &mut Session) -> Result<Vec<Instance>> {
    let mut running = Vec::with_capacity(launched.len());
    for instance in launched {
        running.push(until(instance, Target::Running, deadline, session).await?);
    }
    Ok(running)
}

/// Logs in if that is wanted, and otherwise says how.
async fn finish(
    run: &Run,
    instances: &[Instance],
    deadline: Deadline,
    session: &mut Session,
) -> Result<Finish> {
    let done = Ok(Finish::Exit(Exit::Ok));
    let [instance] = instances else { return done };
    if run.ssh {
        let login = login::login(instance, None, None, session).await?;
        return login::enter(instance, &login, deadline, &[], session).await;
    }
    if run.no_wait || session.format == Format::Ids {
        return done;
    }
    match login::login(instance, None, None, session).await {
        Ok(login) => session.note(&format!(
            "log in:  tepui instance ssh {}\n   or:  {}",
            called(instance),
            login::line(&login)
        )),
        Err(failure) => {
            let cure = failure.try_.first().map(|cure| format!("\n    try:  {cure}")).unwrap_or_default();
            session.note(&format!("no login: {failure}{cure}"));
        }
    }
    done
}

/// The words of the `aws ec2` command that does the same.
fn words(run: &Run, choices: &Choices) -> Vec<String> {
    let mut words: Vec<String> = vec!["run-instances".into()];
    let mut option = |name: &str, values: &[String]| {
        words.push(format!("--{name}"));
        words.extend_from_slice(values);
    };
    option("image-id", &[choices.image.id.to_string()]);
    option("instance-type", std::slice::from_ref(&choices.instance_type));
    option("count", &[run.count.to_string()]);
    option("key-name", std::slice::from_ref(&choices.key_name));
    option("security-group-ids", &choices.groups);
    if let Some(file) = &run.user_data {
        option("user-data", &[format!("file://{}", file.display())]);
    }
    let root = root_mapping(run);
    if !root.is_empty() {
        option("block-device-mappings", &[format!("DeviceName=/dev/sda1,Ebs={{{}}}", root.join(","))]);
    }
    if let Some(group) = &run.placement_group {
        option("placement", &[format!("GroupName={group}")]);
    }
    let name = ("Name".to_owned(), choices.name.clone());
    let tags: Vec<String> = [&name]
        .into_iter()
        .chain(&run.tags)
        .map(|(key, value)| format!("{{Key={key},Value={value}}}"))
        .collect();
    option("tag-specifications", &[format!("ResourceType=instance,Tags=[{}]", tags.join(","))]);
    words
}

/// What the call asks of the root disk, as the AWS CLI spells it.
fn root_mapping(run: &Run) -> Vec<String> {
    let size = run.root_size.map(|size| format!("VolumeSize={size}"));
    let class = run.root_class.as_ref().map(|class| format!("VolumeType={class}"));
    let snapshot = run.root_snapshot.map(|snapshot| format!("SnapshotId={snapshot}"));
    let keep = run.keep_root.then(|| "DeleteOnTermination=false".to_owned());
    [size, class, snapshot, keep].into_iter().flatten().collect()
}
