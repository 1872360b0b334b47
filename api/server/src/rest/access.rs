//! Projects, users, access keys.

use tepui_core::{AccessKeyView, Error, Kind};
use tepui_db::model;
use tepui_types::rest::{
    AccessKey, CreateAccessKeyRequest, CreateProjectRequest, CreateUserRequest, CreatedAccessKey, Empty,
    List, ListAccessKeysRequest, Project, Quota, Role, User,
};
use tepui_types::{ProjectId, UserId};

use super::resolve::pick;
use super::routes::Call;
use crate::failure::Failure;

async fn project(call: &Call, text: &str) -> Result<ProjectId, Failure> {
    let projects = call.cloud().projects(&call.caller).await?;
    pick(Kind::Project, text, projects.into_iter().map(|project| (project.id, Some(project.name))))
}

async fn project_or_own(call: &Call, text: Option<&str>) -> Result<ProjectId, Failure> {
    match text {
        Some(text) => project(call, text).await,
        None => Ok(call.caller.project),
    }
}

async fn user(call: &Call, text: &str) -> Result<UserId, Failure> {
    let users = call.cloud().users(&call.caller).await?;
    pick(Kind::User, text, users.into_iter().map(|user| (user.id, Some(user.name))))
}

pub(super) async fn create_project(call: Call, request: CreateProjectRequest) -> Result<Project, Failure> {
    let quota = request.quota.map(stored_quota);
    Ok(shown_project(call.cloud().create_project(&call.caller, &request.name, quota).await?))
}

pub(super) async fn list_projects(call: Call, _: Empty) -> Result<List<Project>, Failure> {
    let projects = call.cloud().projects(&call.caller).await?;
    Ok(List { items: projects.into_iter().map(shown_project).collect() })
}

pub(super) async fn show_project(call: Call, _: Empty) -> Result<Project, Failure> {
    let id = project(&call, call.target()).await?;
    Ok(shown_project(call.cloud().project(&call.caller, id).await?))
}

pub(super) async fn delete_project(call: Call, _: Empty) -> Result<Empty, Failure> {
    let id = project(&call, call.target()).await?;
    call.cloud().delete_project(&call.caller, id).await?;
    Ok(Empty {})
}

pub(super) async fn set_quota(call: Call, quota: Quota) -> Result<Project, Failure> {
    let id = project(&call, call.target()).await?;
    call.cloud().set_quota(&call.caller, id, stored_quota(quota)).await?;
    Ok(shown_project(call.cloud().project(&call.caller, id).await?))
}

pub(super) async fn create_user(call: Call, request: CreateUserRequest) -> Result<User, Failure> {
    let role = match request.role {
        Role::Administrator => model::Role::Administrator,
        Role::Member => model::Role::Member,
    };
    Ok(shown_user(call.cloud().create_user(&call.caller, &request.name, role).await?))
}

pub(super) async fn list_users(call: Call, _: Empty) -> Result<List<User>, Failure> {
    let users = call.cloud().users(&call.caller).await?;
    Ok(List { items: users.into_iter().map(shown_user).collect() })
}

pub(super) async fn delete_user(call: Call, _: Empty) -> Result<Empty, Failure> {
    let id = user(&call, call.target()).await?;
    call.cloud().delete_user(&call.caller, id).await?;
    Ok(Empty {})
}

pub(super) async fn create_key(
    call: Call,
    request: CreateAccessKeyRequest,
) -> Result<CreatedAccessKey, Failure> {
    let project = project_or_own(&call, request.project.as_deref()).await?;
    let user = match request.user {
        Some(text) => user(&call, &text).await?,
        None => call.caller.user_id,
    };
    let new = call.cloud().create_access_key(&call.caller, user, project).await?;
    let keys = call.cloud().access_keys(&call.caller, project).await?;
    let view = keys.into_iter().find(|key| key.id == new.id);
    let view = view.ok_or_else(|| Error::not_found(Kind::AccessKey, &new.id))?;
    let token = format!("{}.{}", new.id, new.secret);
    Ok(CreatedAccessKey { access_key: shown_key(view), secret_access_key: new.secret, token })
}

pub(super) async fn list_keys(
    call: Call,
    request: ListAccessKeysRequest,
) -> Result<List<AccessKey>, Failure> {
    let project = project_or_own(&call, request.project.as_deref()).await?;
    let keys = call.cloud().access_keys(&call.caller, project).await?;
    Ok(List { items: keys.into_iter().map(shown_key).collect() })
}

/// Only by its whole id: a mistyped beginning would end somebody else's access.
pub(super) async fn delete_key(call: Call, request: ListAccessKeysRequest) -> Result<Empty, Failure> {
    let project = project_or_own(&call, request.project.as_deref()).await?;
    call.cloud().delete_access_key(&call.caller, project, call.target()).await?;
    Ok(Empty {})
}

pub(super) fn shown_project(project: model::Project) -> Project {
    Project {
        id: project.id,
        name: project.name,
        quota: shown_quota(project.quota),
        created_at: project.created_at,
    }
}

pub(super) fn shown_quota(quota: model::Quota) -> Quota {
    let model::Quota { instances, vcpus, memory_mib, volumes, volume_gib } = quota;
    Quota { instances, vcpus, memory_mib, volumes, volume_gib }
}

fn stored_quota(quota: Quota) -> model::Quota {
    let Quota { instances, vcpus, memory_mib, volumes, volume_gib } = quota;
    model::Quota { instances, vcpus, memory_mib, volumes, volume_gib }
}

pub(super) fn shown_user(user: model::User) -> User {
    User {
        id: user.id,
        name: user.name,
        role: match user.role {
            model::Role::Administrator => Role::Administrator,
            model::Role::Member => Role::Member,
        },
        created_at: user.created_at,
    }
}

fn shown_key(key: AccessKeyView) -> AccessKey {
    AccessKey {
        id: key.id,
        user_id: key.user.id,
        user_name: key.user.name,
        project_id: key.project_id,
        created_at: key.created_at,
    }
}
