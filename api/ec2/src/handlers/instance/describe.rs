//! `DescribeInstances` and `DescribeInstanceCreditSpecifications`.

use tepui_core::{InstanceView, Kind};

use super::filter::{FILTERS, Row};
use super::view::shape;
use crate::error::ApiError;
use crate::generated::{
    DescribeInstanceCreditSpecificationsRequest, DescribeInstanceCreditSpecificationsResult,
    DescribeInstancesRequest, DescribeInstancesResult, InstanceCreditSpecification, Reservation,
};
use crate::handlers::{fixed, text};
use crate::mechanism::{Field, apply, one, parse_ids};
use crate::operation::{Context, Handle};

const CREDIT_FILTERS: &[Field<InstanceCreditSpecification>] = &[("instance-id", |c| one(&c.instance_id))];

impl Handle for DescribeInstancesRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeInstancesResult, ApiError> {
        let ids = parse_ids(Kind::Instance, &self.instance_ids)?;
        let views = cx.cloud.describe_instances(&cx.caller, &ids).await?;
        let rows = views.iter().map(|view| row(cx, view)).collect();
        let rows = apply(&cx.filters, FILTERS, |row| &row.instance.tags, rows)?;
        // A page is counted in instances, so that a large reservation spans several.
        let (rows, next_token) = cx.page.cut(rows, |row| {
            let id = |text: &Option<crate::wire::Text>| text.clone().unwrap_or_default().into_owned();
            id(&row.reservation.reservation_id) + " " + &id(&row.instance.instance_id)
        });
        Ok(DescribeInstancesResult { next_token, reservations: reservations(rows) })
    }
}

fn row(cx: &Context, view: &InstanceView) -> Row {
    Row { reservation: reservation(view), instance: shape(&cx.cloud, view) }
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

/// Puts instances that follow each other into their common reservation.
fn reservations(rows: Vec<Row>) -> Vec<Reservation> {
    let mut all: Vec<Reservation> = Vec::new();
    for Row { reservation, instance } in rows {
        match all.last_mut().filter(|last| last.reservation_id == reservation.reservation_id) {
            Some(last) => last.instances.push(instance),
            None => all.push(Reservation { instances: vec![instance], ..reservation }),
        }
    }
    all
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
