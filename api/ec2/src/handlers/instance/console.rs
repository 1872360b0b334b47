//! `GetConsoleOutput`.

use data_encoding::BASE64;
use tepui_core::Kind;

use crate::error::ApiError;
use crate::generated::{GetConsoleOutputRequest, GetConsoleOutputResult};
use crate::handlers::text;
use crate::mechanism::parse_id;
use crate::operation::{Context, Handle};

impl Handle for GetConsoleOutputRequest {
    async fn handle(self, cx: &Context) -> Result<GetConsoleOutputResult, ApiError> {
        let id = parse_id(Kind::Instance, &self.instance_id)?;
        if cx.caller.dry_run {
            cx.cloud.instance(&cx.caller, id).await?;
            return Err(ApiError::dry_run());
        }
        let console = cx.cloud.console_output(&cx.caller, id, true).await?;
        Ok(GetConsoleOutputResult {
            instance_id: text(id),
            output: console.as_ref().map(|console| BASE64.encode(&console.bytes).into()),
            timestamp: console.map(|console| console.at),
        })
    }
}
