//! STS.

use super::text;
use crate::error::ApiError;
use crate::generated::{GetCallerIdentityRequest, GetCallerIdentityResponse};
use crate::operation::{Context, Handle};

impl Handle for GetCallerIdentityRequest {
    async fn handle(self, cx: &Context) -> Result<GetCallerIdentityResponse, ApiError> {
        let caller = &cx.caller;
        Ok(GetCallerIdentityResponse {
            account: text(caller.project),
            arn: text(format!("arn:aws:iam::{}:user/{}", caller.project, caller.user_name)),
            user_id: text(caller.user_id),
        })
    }
}
