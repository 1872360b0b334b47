//! The one region and its one zone.

use tepui_core::{Error, Kind};

use super::{fixed, text};
use crate::error::ApiError;
use crate::generated::{
    AvailabilityZone, DescribeAvailabilityZonesRequest, DescribeAvailabilityZonesResult,
    DescribeRegionsRequest, DescribeRegionsResult, Region,
};
use crate::mechanism::{Field, apply, one};
use crate::operation::{Context, Handle};
use crate::wire::Text;

const REGION_FILTERS: &[Field<Region>] = &[
    ("endpoint", |r| one(&r.endpoint)),
    ("opt-in-status", |r| one(&r.opt_in_status)),
    ("region-name", |r| one(&r.region_name)),
];

const ZONE_FILTERS: &[Field<AvailabilityZone>] = &[
    ("group-name", |z| one(&z.group_name)),
    ("opt-in-status", |z| one(&z.opt_in_status)),
    ("region-name", |z| one(&z.region_name)),
    ("state", |z| one(&z.state)),
    ("zone-id", |z| one(&z.zone_id)),
    ("zone-name", |z| one(&z.zone_name)),
    ("zone-type", |z| one(&z.zone_type)),
];

impl Handle for DescribeRegionsRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeRegionsResult, ApiError> {
        let name = &cx.cloud.config().region;
        if let Some(other) = self.region_names.iter().find(|wanted| *wanted != name) {
            return Err(ApiError::invalid_value("RegionName", other, "This cloud has one region."));
        }
        let region = Region {
            endpoint: text(&cx.config.endpoint),
            opt_in_status: fixed("opt-in-not-required"),
            region_name: text(name),
        };
        Ok(DescribeRegionsResult { regions: apply(&cx.filters, REGION_FILTERS, |_| &[], vec![region])? })
    }
}

impl Handle for DescribeAvailabilityZonesRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeAvailabilityZonesResult, ApiError> {
        let config = cx.cloud.config();
        let zone = config.zone();
        check_zone(&self.zone_names, &zone)?;
        check_zone(&self.zone_ids, &zone_id(&config.region))?;
        let zone = AvailabilityZone {
            group_name: text(&config.region),
            network_border_group: text(&config.region),
            opt_in_status: fixed("opt-in-not-required"),
            region_name: text(&config.region),
            state: fixed("available"),
            zone_id: text(zone_id(&config.region)),
            zone_name: text(zone),
            zone_type: fixed("availability-zone"),
        };
        let availability_zones = apply(&cx.filters, ZONE_FILTERS, |_| &[], vec![zone])?;
        Ok(DescribeAvailabilityZonesResult { availability_zones })
    }
}

/// The name of the zone that is the same for every account; here they all agree anyway.
pub(super) fn zone_id(region: &str) -> String {
    format!("{region}-az1")
}

fn check_zone(wanted: &[Text], zone: &str) -> Result<(), ApiError> {
    match wanted.iter().find(|wanted| *wanted != zone) {
        Some(other) => Err(Error::not_found(Kind::Zone, other).into()),
        None => Ok(()),
    }
}
