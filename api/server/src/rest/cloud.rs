//! The cloud as a whole.

use tepui_core::Severity;
use tepui_db::AuditFilter;
use tepui_types::rest::{
    Capacity, CheckOutcome, DoctorCheck, DoctorReport, Empty, Event, Identity, List, ListEventsRequest,
    TypeRoom,
};

use super::access::{shown_project, shown_quota};
use super::instance::shown_type;
use super::routes::Call;
use crate::failure::Failure;

const DEFAULT_EVENTS: u32 = 100;
const MOST_EVENTS: u32 = 1000;

pub(super) async fn whoami(call: Call, _: Empty) -> Result<Identity, Failure> {
    let (cloud, caller) = (call.cloud(), &call.caller);
    let key = cloud.authenticate_key(&caller.access_key_id).await?;
    let key = key.ok_or(Failure::Unauthenticated("the access key was deleted"))?;
    Ok(Identity {
        user: super::access::shown_user(key.credential.user.clone()),
        project: shown_project(cloud.project(caller, caller.project).await?),
        used: shown_quota(cloud.quota(caller).await?.used),
        region: cloud.config().region.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        epoch: call.app.epoch().await?,
    })
}

pub(super) async fn events(call: Call, request: ListEventsRequest) -> Result<List<Event>, Failure> {
    let limit = request.limit.unwrap_or(DEFAULT_EVENTS);
    if !(1..=MOST_EVENTS).contains(&limit) {
        return Err(Failure::invalid("limit", limit, format!("is 1 to {MOST_EVENTS}")));
    }
    let filter = AuditFilter { resource: request.resource, refused: Some(request.refused) };
    let records = call.cloud().audit_records(&call.caller, &filter, limit).await?;
    let events = records.into_iter().map(|record| Event {
        at: record.at,
        user_id: record.user_id,
        action: record.action,
        resources: record.resources.split_terminator(',').map(str::to_owned).collect(),
        outcome: record.outcome,
        request_id: record.request_id,
    });
    Ok(List { items: events.collect() })
}

pub(super) async fn capacity(call: Call, _: Empty) -> Result<Capacity, Failure> {
    let room = call.cloud().room().await?;
    let types = room.types.into_iter().map(|(kind, fits)| TypeRoom { instance_type: shown_type(kind), fits });
    Ok(Capacity { nodes: room.nodes, types: types.collect() })
}

pub(super) async fn doctor(call: Call, _: Empty) -> Result<DoctorReport, Failure> {
    examine(&call, Vec::new()).await
}

pub(super) async fn fix(call: Call, _: Empty) -> Result<DoctorReport, Failure> {
    let fixed = call.cloud().mend(&call.caller).await?;
    examine(&call, fixed).await
}

async fn examine(call: &Call, fixed: Vec<String>) -> Result<DoctorReport, Failure> {
    let nodes = call.cloud().nodes(&call.caller).await?.len();
    let findings = call.cloud().doctor(&call.caller).await?;
    let mut checks: Vec<DoctorCheck> = findings.into_iter().map(shown_finding).collect();
    if checks.is_empty() {
        checks.push(pass("nodes and instances", format!("{nodes} nodes report what they should")));
    }
    checks.push(images_check(call).await?);
    Ok(DoctorReport { checks, fixed })
}

fn shown_finding(finding: tepui_core::Finding) -> DoctorCheck {
    DoctorCheck {
        name: finding.object,
        outcome: match finding.severity {
            Severity::Warning => CheckOutcome::Warn,
            Severity::Failure => CheckOutcome::Fail,
        },
        message: finding.what,
        cure: Some(finding.cure),
        fixable: finding.fixable,
    }
}

fn pass(name: &str, message: String) -> DoctorCheck {
    DoctorCheck { name: name.into(), outcome: CheckOutcome::Pass, message, cure: None, fixable: false }
}

/// Every image that can be launched or runs has its file.
async fn images_check(call: &Call) -> Result<DoctorCheck, Failure> {
    let wanted = call.cloud().digests_in_use().await?;
    let missing: Vec<_> = wanted.iter().filter(|digest| !call.app.importer.has(digest)).collect();
    let Some(first) = missing.first() else {
        return Ok(pass("image files", format!("{} images have their files", wanted.len())));
    };
    Ok(DoctorCheck {
        name: "image files".into(),
        outcome: CheckOutcome::Fail,
        message: format!("{} image files are missing, first {first}", missing.len()),
        cure: Some("restore data_dir/images from a backup, or delete and import these images again".into()),
        fixable: false,
    })
}
