//! Imports of images.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tepui_core::Kind;
use tepui_db::TokenUse;
use tepui_db::model::{ImportState, ImportTask};

use super::{fixed, text};
use crate::UrlImport;
use crate::error::ApiError;
use crate::generated::{
    DescribeImportImageTasksRequest, DescribeImportImageTasksResult, ImageDiskContainer, ImportImageRequest,
    ImportImageResult, ImportImageTask as Shape, SnapshotDetail,
};
use crate::mechanism::{Field, apply, one, parse_ids, shown_tags, tags_for};
use crate::operation::{Context, Handle};
use crate::wire::Text;

const FILTERS: &[Field<Shape>] = &[("task-state", |t| one(&t.status))];

impl Handle for ImportImageRequest {
    async fn handle(self, cx: &Context) -> Result<ImportImageResult, ApiError> {
        let [tags] = tags_for(self.tag_specifications, ["import-image-task"])?;
        let url = source(&self.disk_containers)?;
        let description = self.description.unwrap_or_default().to_string();
        let token = token_use(cx, &(url, &description, &tags))?;
        let import = UrlImport { url: url.to_owned(), description, tags, token };
        let task = cx.config.imports.import_url(&cx.caller, import).await?;
        let tags = cx.cloud.tags(&cx.caller).await?.remove(&task.id.to_string()).unwrap_or_default();
        let shape = shape(&tags, task);
        Ok(ImportImageResult {
            architecture: shape.architecture,
            description: shape.description,
            hypervisor: shape.hypervisor,
            image_id: shape.image_id,
            import_task_id: shape.import_task_id,
            platform: shape.platform,
            progress: shape.progress,
            snapshot_details: shape.snapshot_details,
            status: shape.status,
            status_message: shape.status_message,
            tags: shape.tags,
        })
    }
}

impl Handle for DescribeImportImageTasksRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeImportImageTasksResult, ApiError> {
        let ids = parse_ids(Kind::ImportTask, &self.import_task_ids)?;
        let tasks = cx.cloud.import_tasks(&cx.caller, &ids).await?;
        let mut tags = cx.cloud.tags(&cx.caller).await?;
        let shapes =
            tasks.into_iter().map(|task| shape(&tags.remove(&task.id.to_string()).unwrap_or_default(), task));
        let shapes = apply(&cx.filters, FILTERS, |task| &task.tags, shapes.collect())?;
        let (import_image_tasks, next_token) =
            cx.page.cut(shapes, |task| task.import_task_id.clone().unwrap_or_default().into());
        Ok(DescribeImportImageTasksResult { import_image_tasks, next_token })
    }
}

/// The token of the request, with what it stands for.
fn token_use(cx: &Context, parameters: &impl Serialize) -> Result<Option<TokenUse>, ApiError> {
    let Some(token) = &cx.token else { return Ok(None) };
    // Texts and maps of texts always have a JSON form.
    let parameters = serde_json::to_vec(parameters).map_err(|_| ApiError::internal())?;
    Ok(Some(TokenUse { token: token.to_string(), parameters_sha256: Sha256::digest(parameters).into() }))
}

/// The one disk's URL. Its header says what format it has; the parameter may only agree.
fn source(containers: &[ImageDiskContainer]) -> Result<&str, ApiError> {
    let [container] = containers else {
        return Err(ApiError::new("InvalidParameterValue", "An image has exactly one disk container."));
    };
    let format = container.format.as_deref().map(str::to_ascii_lowercase);
    if let Some(other) = format.filter(|format| !matches!(format.as_str(), "raw" | "qcow2")) {
        return Err(ApiError::invalid_value("DiskContainer.Format", &other, "It is raw or qcow2."));
    }
    container.url.as_deref().ok_or_else(|| ApiError::missing("DiskContainer.1.Url"))
}

fn shape(tags: &BTreeMap<String, String>, task: ImportTask) -> Shape {
    let (status, progress) = match task.state {
        ImportState::Active => ("active", Some(Text::from(task.progress.to_string()))),
        ImportState::Completed => ("completed", None),
        // EC2 has no state for a failure: such a task is deleted, and its message says why.
        ImportState::Failed => ("deleted", None),
    };
    Shape {
        architecture: fixed("x86_64"),
        description: text(&task.description),
        hypervisor: None,
        image_id: task.image_id.map(|id| id.to_string().into()),
        import_task_id: text(task.id),
        platform: fixed("Linux"),
        progress: progress.clone(),
        snapshot_details: vec![SnapshotDetail {
            description: text(task.description),
            progress,
            status: fixed(status),
            url: Some(task.source.into()),
        }],
        status: fixed(status),
        status_message: Some(task.message.into()),
        tags: shown_tags(tags),
    }
}
