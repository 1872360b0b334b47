//! Replies that are no JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Asks for what a snapshot holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DownloadSnapshotRequest {
    /// Bytes of the disk before this one are left out: who went on reading until a line broke has them.
    #[serde(default)]
    pub offset: u64,
}

/// The content of a disk as [`frames`](crate::frames), which a reader takes as they come. The header `tepui-raw-size`
/// tells how many bytes the whole disk has. A body that breaks off has not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskContent;

impl JsonSchema for DiskContent {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DiskContent".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "binary" })
    }
}
