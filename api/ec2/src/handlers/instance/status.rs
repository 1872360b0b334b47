//! `DescribeInstanceStatus`.

use tepui_core::{Health, InstanceStatus, Kind};

use super::state;
use crate::error::ApiError;
use crate::generated::{
    DescribeInstanceStatusRequest, DescribeInstanceStatusResult, InstanceStatus as Shape,
    InstanceStatusDetails, InstanceStatusSummary,
};
use crate::handlers::{fixed, text};
use crate::mechanism::{Field, apply, one, parse_ids};
use crate::operation::{Context, Handle};

const FILTERS: &[Field<Shape>] = &[
    ("availability-zone", |s| one(&s.availability_zone)),
    ("instance-state-code", |s| {
        s.instance_state.iter().filter_map(|s| s.code).map(|code| code.to_string().into()).collect()
    }),
    ("instance-state-name", |s| s.instance_state.iter().flat_map(|s| one(&s.name)).collect()),
    ("instance-status.status", |s| s.instance_status.iter().flat_map(|s| one(&s.status)).collect()),
    ("system-status.status", |s| s.system_status.iter().flat_map(|s| one(&s.status)).collect()),
];

impl Handle for DescribeInstanceStatusRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeInstanceStatusResult, ApiError> {
        let ids = parse_ids(Kind::Instance, &self.instance_ids)?;
        let all = self.include_all_instances.unwrap_or(false);
        let statuses = cx.cloud.instance_status(&cx.caller, &ids, all).await?;
        let zone = cx.cloud.config().zone();
        let shapes = statuses.iter().map(|status| shape(&zone, status)).collect();
        let shapes = apply(&cx.filters, FILTERS, |_| &[], shapes)?;
        let (instance_statuses, next_token) =
            cx.page.cut(shapes, |status| status.instance_id.clone().unwrap_or_default().into());
        Ok(DescribeInstanceStatusResult { instance_statuses, next_token })
    }
}

fn shape(zone: &str, status: &InstanceStatus) -> Shape {
    let (instance, system) = match status.health {
        Health::Ok => ("ok", "ok"),
        Health::Initializing => ("initializing", "initializing"),
        Health::NotApplicable => ("not-applicable", "not-applicable"),
        Health::Unknown => ("insufficient-data", "insufficient-data"),
        // The host or a pool is in trouble, not what runs there.
        Health::Impaired => ("ok", "impaired"),
    };
    Shape {
        availability_zone: text(zone),
        instance_id: text(status.id),
        instance_state: Some(state(status.state)),
        instance_status: Some(summary(instance)),
        system_status: Some(summary(system)),
    }
}

fn summary(status: &'static str) -> InstanceStatusSummary {
    let check = match status {
        "ok" => Some("passed"),
        "impaired" => Some("failed"),
        "initializing" | "insufficient-data" => Some(status),
        _ => None,
    };
    let details =
        check.map(|check| InstanceStatusDetails { name: fixed("reachability"), status: fixed(check) });
    InstanceStatusSummary { details: details.into_iter().collect(), status: fixed(status) }
}
