//! Instances.

use data_encoding::BASE64;
use tepui_core::{
    Error, INSTANCE_TYPES, InstanceChange, InstanceView, Kind, LaunchVolumeRequest, RunInstances,
};
use tepui_db::model;
use tepui_types::InstanceId;
use tepui_types::agent::ScratchDisks;
use tepui_types::rest::{
    ConsoleOutput, Empty, Explanation, Instance, InstanceType, LaunchVolume, List, ListInstancesRequest,
    RunInstancesRequest, SetInstanceRequest, ShowConsoleRequest, StopInstanceRequest,
};

use super::instance_view::{Viewer, shown, some, stored_behavior};
use super::resolve::pick;
use super::routes::Call;
use super::{image, key_pair, network, placement_group, security_group};
use crate::failure::Failure;

/// Two vCPUs and 1 GiB: the smallest type in which a stock Debian or Ubuntu boots at ease.
const DEFAULT_TYPE: &str = "t3.micro";

pub(super) async fn run(call: Call, request: RunInstancesRequest) -> Result<List<Instance>, Failure> {
    let run = resolved(&call, request).await?;
    let reservation = call.cloud().run_instances(&call.caller, run).await?;
    let viewer = Viewer::new(&call).await?;
    Ok(List { items: reservation.instances.into_iter().map(|view| viewer.show(view)).collect() })
}

async fn resolved(call: &Call, request: RunInstancesRequest) -> Result<RunInstances, Failure> {
    let image = image::find(call, &request.image).await?;
    let count = request.count.unwrap_or(1);
    let mut run = RunInstances {
        min_count: count,
        max_count: count,
        client_token: request.client_token,
        user_data: decoded("user_data", request.user_data.as_deref())?,
        private_ip: request.private_ip,
        associate_public_ip: request.public_ip,
        instance_tags: request.tags,
        ..RunInstances::new(image, request.instance_type.as_deref().unwrap_or(DEFAULT_TYPE))
    };
    run.root_volume.size_gib = request.root_gib;
    run.root_volume.class = request.root_class;
    run.root_volume.snapshot_id = request.root_snapshot;
    run.root_volume.delete_on_termination = request.root_delete_on_termination;
    run.volumes = request.volumes.into_iter().map(launch_volume).collect();
    run.scratch = ScratchDisks {
        scratch_gib: request.scratch_gib.unwrap_or(0),
        swap_gib: request.swap_gib.unwrap_or(0),
    };
    run.shutdown_behavior = request.shutdown_behavior.map_or(run.shutdown_behavior, stored_behavior);
    run.instance_tags.extend(request.name.map(|name| ("Name".to_owned(), name)));
    run.security_group_ids = security_group::find_all(call, &request.groups).await?;
    if let Some(key) = request.key_pair {
        run.key_name = Some(key_pair::find(call, &key).await?.name);
    }
    if let Some(subnet) = request.subnet {
        run.subnet_id = Some(network::find_subnet(call, &subnet).await?);
    }
    if let Some(group) = request.placement_group {
        run.placement_group = Some(placement_group::find(call, &group).await?.name);
    }
    Ok(run)
}

fn launch_volume(asked: LaunchVolume) -> LaunchVolumeRequest {
    LaunchVolumeRequest {
        device: asked.device,
        size_gib: asked.size_gib,
        class: asked.class,
        iops: None,
        throughput_mib: None,
        snapshot_id: asked.snapshot,
        delete_on_termination: asked.delete_on_termination,
    }
}

/// Raw user data; `None` for none.
fn decoded(field: &'static str, base64: Option<&str>) -> Result<Option<Vec<u8>>, Failure> {
    let Some(text) = base64.filter(|text| !text.is_empty()) else { return Ok(None) };
    let bytes = BASE64.decode(text.as_bytes());
    bytes.map(Some).map_err(|error| Failure::invalid(field, "…", format!("is base64: {error}")))
}

/// The instance that the path names.
async fn target(call: &Call) -> Result<InstanceId, Failure> {
    Ok(find(call, call.target()).await?.record.instance.id)
}

/// The instance that a text names. Terminated ones only by their id: their names are free again.
pub(super) async fn find(call: &Call, text: &str) -> Result<InstanceView, Failure> {
    let mut views = call.cloud().describe_instances(&call.caller, &[]).await?;
    views.retain(|view| {
        let instance = &view.record.instance;
        instance.state != model::InstanceState::Terminated || instance.id.to_string() == text
    });
    let names = views.iter().map(|v| (v.record.instance.id, v.record.tags.get("Name").cloned()));
    let id = pick(Kind::Instance, text, names)?;
    let found = views.into_iter().find(|view| view.record.instance.id == id);
    found.ok_or_else(|| Error::not_found(Kind::Instance, id).into())
}

pub(super) async fn list(call: Call, request: ListInstancesRequest) -> Result<List<Instance>, Failure> {
    let viewer = Viewer::new(&call).await?;
    let mut views = call.cloud().describe_instances(&call.caller, &[]).await?;
    views.retain(|v| request.terminated || v.record.instance.state != model::InstanceState::Terminated);
    Ok(List { items: views.into_iter().map(|view| viewer.show(view)).collect() })
}

pub(super) async fn show(call: Call, _: Empty) -> Result<Instance, Failure> {
    shown(&call, target(&call).await?).await
}

pub(super) async fn set(call: Call, request: SetInstanceRequest) -> Result<Instance, Failure> {
    let id = target(&call).await?;
    let changes = changes(&call, request).await?;
    call.cloud().modify_instance(&call.caller, id, changes).await?;
    shown(&call, id).await
}

/// What the request names.
async fn changes(call: &Call, request: SetInstanceRequest) -> Result<Vec<InstanceChange>, Failure> {
    let mut changes = Vec::new();
    if let Some(user_data) = request.user_data {
        changes.push(InstanceChange::UserData(decoded("user_data", Some(&user_data))?));
    }
    changes.extend(request.instance_type.map(InstanceChange::InstanceType));
    if let Some(groups) = request.groups {
        changes.push(InstanceChange::Groups(security_group::find_all(call, &groups).await?));
    }
    let behavior = request.shutdown_behavior.map(stored_behavior);
    changes.extend(behavior.map(InstanceChange::ShutdownBehavior));
    changes.extend(request.disable_api_termination.map(InstanceChange::DisableApiTermination));
    changes.extend(request.disable_api_stop.map(InstanceChange::DisableApiStop));
    if changes.is_empty() {
        return Err(Failure::Malformed("the request changes nothing; name an attribute".into()));
    }
    Ok(changes)
}

pub(super) async fn terminate(call: Call, _: Empty) -> Result<Instance, Failure> {
    let id = target(&call).await?;
    call.cloud().terminate_instances(&call.caller, &[id]).await?;
    shown(&call, id).await
}

pub(super) async fn start(call: Call, _: Empty) -> Result<Instance, Failure> {
    let id = target(&call).await?;
    call.cloud().start_instances(&call.caller, &[id]).await?;
    shown(&call, id).await
}

pub(super) async fn stop(call: Call, request: StopInstanceRequest) -> Result<Instance, Failure> {
    let id = target(&call).await?;
    call.cloud().stop_instances(&call.caller, &[id], request.force).await?;
    shown(&call, id).await
}

pub(super) async fn reboot(call: Call, _: Empty) -> Result<Instance, Failure> {
    let id = target(&call).await?;
    call.cloud().reboot_instances(&call.caller, &[id]).await?;
    shown(&call, id).await
}

pub(super) async fn console(call: Call, request: ShowConsoleRequest) -> Result<ConsoleOutput, Failure> {
    let id = target(&call).await?;
    let output = call.cloud().console_output(&call.caller, id, request.latest).await?;
    Ok(match output {
        None => ConsoleOutput { output: String::new(), at: None },
        Some(console) => ConsoleOutput {
            output: String::from_utf8_lossy(&console.bytes).into_owned(),
            at: Some(console.at),
        },
    })
}

pub(super) async fn explain(call: Call, _: Empty) -> Result<Explanation, Failure> {
    let id = target(&call).await?;
    let explanation = call.cloud().explain_instance(&call.caller, id).await?;
    let instance = shown(&call, id).await?;
    let summary = match explanation.waits_for {
        Some(what) => format!("waits for {what}"),
        None => "it is where it should be".to_owned(),
    };
    // The doctor is the administrators', and has nothing to say where nothing is held up.
    let is_held = explanation.facts.iter().any(|fact| fact.blocks);
    let asks_doctor = is_held && call.caller.require_administrator().is_ok();
    let try_ = asks_doctor.then(|| "tepui doctor".to_owned()).into_iter().collect();
    let facts = explanation.facts.into_iter().map(told).collect();
    Ok(Explanation { instance, summary, facts, try_ })
}

fn told(fact: tepui_core::Fact) -> String {
    let mark = if fact.blocks { " (this holds it up)" } else { "" };
    let since = fact.since.map(|since| format!(", since {since}")).unwrap_or_default();
    format!("{}: {}{since}{mark}", fact.about, fact.says)
}

pub(super) async fn types(_: Call, _: Empty) -> Result<List<InstanceType>, Failure> {
    Ok(List { items: INSTANCE_TYPES.iter().map(shown_type).collect() })
}

pub(super) fn shown_type(kind: &tepui_core::InstanceType) -> InstanceType {
    InstanceType {
        name: kind.name.to_owned(),
        vcpus: kind.vcpus,
        memory_mib: kind.memory_mib,
        scratch_gib: some(kind.scratch_gib()),
    }
}
