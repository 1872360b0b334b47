//! Start, stop, reboot, terminate.

use tepui_core::{Kind, StateChange};

use super::state;
use crate::error::ApiError;
use crate::generated::{
    InstanceStateChange, RebootInstancesRequest, StartInstancesRequest, StartInstancesResult,
    StopInstancesRequest, StopInstancesResult, TerminateInstancesRequest, TerminateInstancesResult,
};
use crate::handlers::text;
use crate::mechanism::parse_ids;
use crate::operation::{Context, Handle, Void};

impl Handle for StartInstancesRequest {
    async fn handle(self, cx: &Context) -> Result<StartInstancesResult, ApiError> {
        let ids = parse_ids(Kind::Instance, &self.instance_ids)?;
        let changes = cx.cloud.start_instances(&cx.caller, &ids).await?;
        Ok(StartInstancesResult { starting_instances: shapes(changes) })
    }
}

impl Handle for StopInstancesRequest {
    async fn handle(self, cx: &Context) -> Result<StopInstancesResult, ApiError> {
        let ids = parse_ids(Kind::Instance, &self.instance_ids)?;
        let changes = cx.cloud.stop_instances(&cx.caller, &ids, self.force.unwrap_or(false)).await?;
        Ok(StopInstancesResult { stopping_instances: shapes(changes) })
    }
}

impl Handle for RebootInstancesRequest {
    async fn handle(self, cx: &Context) -> Result<Void, ApiError> {
        let ids = parse_ids(Kind::Instance, &self.instance_ids)?;
        cx.cloud.reboot_instances(&cx.caller, &ids).await?;
        Ok(Void)
    }
}

impl Handle for TerminateInstancesRequest {
    async fn handle(self, cx: &Context) -> Result<TerminateInstancesResult, ApiError> {
        let ids = parse_ids(Kind::Instance, &self.instance_ids)?;
        let changes = cx.cloud.terminate_instances(&cx.caller, &ids).await?;
        Ok(TerminateInstancesResult { terminating_instances: shapes(changes) })
    }
}

fn shapes(changes: Vec<StateChange>) -> Vec<InstanceStateChange> {
    let shape = |change: StateChange| InstanceStateChange {
        current_state: Some(state(change.after)),
        instance_id: text(change.id),
        previous_state: Some(state(change.before)),
    };
    changes.into_iter().map(shape).collect()
}
