//! `DescribeInstances` and `DescribeInstanceCreditSpecifications`.

use tepui_core::{InstanceView, Kind};

use super::InstanceListing;
use super::filter::{FILTERS, Row};
use super::view::shape;
use crate::error::ApiError;
use crate::generated::{
    DescribeInstanceCreditSpecificationsRequest, DescribeInstanceCreditSpecificationsResult,
    DescribeInstancesRequest, InstanceCreditSpecification, Reservation,
};
use crate::handlers::{fixed, text};
use crate::mechanism::{Field, apply, one, parse_ids};
use crate::operation::{Context, Handle};

const CREDIT_FILTERS: &[Field<InstanceCreditSpecification>] = &[("instance-id", |c| one(&c.instance_id))];

impl Handle for DescribeInstancesRequest {
    async fn handle(self, cx: &Context) -> Result<InstanceListing, ApiError> {
        let ids = parse_ids(Kind::Instance, &self.instance_ids)?;
        let views = filtered(cx, cx.cloud.describe_instances(&cx.caller, &ids).await?)?;
        // A page is counted in instances, so that a large reservation spans several.
        let (views, next_token) = cx.page.cut(views, |view| {
            let instance = &view.record.instance;
            format!("{} {}", instance.reservation_id, instance.id)
        });
        Ok(InstanceListing::new(cx, views, next_token))
    }
}

/// The views that pass the filters, which look at what the reply would show.
fn filtered(cx: &Context, views: Vec<InstanceView>) -> Result<Vec<InstanceView>, ApiError> {
    if cx.filters.is_empty() {
        return Ok(views);
    }
    let row = |view| Row { reservation: reservation(&view), instance: shape(&cx.cloud, &view), view };
    let rows = views.into_iter().map(row).collect();
    let rows = apply(&cx.filters, FILTERS, |row| &row.instance.tags, rows)?;
    Ok(rows.into_iter().map(|row| row.view).collect())
}

/// A reservation without instances.
pub(super) fn reservation(view: &InstanceView) -> Reservation {
    let instance = &view.record.instance;
    Reservation {
        groups: Vec::new(),
        instances: Vec::new(),
        owner_id: text(instance.project_id),
        reservation_id: text(instance.reservation_id),
    }
}

impl Handle for DescribeInstanceCreditSpecificationsRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeInstanceCreditSpecificationsResult, ApiError> {
        let ids = parse_ids(Kind::Instance, &self.instance_ids)?;
        let views = cx.cloud.describe_instances(&cx.caller, &ids).await?;
        // Nothing is ever throttled, which is what AWS calls unlimited. Only burstable types have
        // the notion.
        let burstable = views.iter().filter(|view| view.record.instance.instance_type.starts_with('t'));
        let shapes = burstable.map(|view| InstanceCreditSpecification {
            cpu_credits: fixed("unlimited"),
            instance_id: text(view.record.instance.id),
        });
        let shapes = apply(&cx.filters, CREDIT_FILTERS, |_| &[], shapes.collect())?;
        let key = |shape: &InstanceCreditSpecification| shape.instance_id.clone().unwrap_or_default().into();
        let (instance_credit_specifications, next_token) = cx.page.cut(shapes, key);
        Ok(DescribeInstanceCreditSpecificationsResult { instance_credit_specifications, next_token })
    }
}
