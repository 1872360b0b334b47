//! The REST surface: one file a resource, one line a route.

mod access;
mod cloud;
mod image;
mod image_upload;
mod instance;
mod instance_view;
mod key_pair;
mod leftover;
mod network;
mod node;
mod placement_group;
mod pool;
mod resolve;
mod routes;
mod security_group;
mod snapshot;
mod snapshot_content;
mod snapshot_image;
mod snapshot_schedule;
mod tag;
mod volume;
mod volume_move;

use std::sync::Arc;

use axum::Router;
use tepui_types::endpoint as e;

use crate::app::App;
use routes::Routes;
pub(crate) use routes::request_id;
pub(crate) use snapshot_content::streamed;

/// Every endpoint of the registry, with its handler.
pub(crate) fn router(app: Arc<App>) -> Router {
    routes().into_router(app)
}

#[rustfmt::skip] // A table is read by its columns.
fn routes() -> Routes {
    Routes::default()
        .add::<e::RunInstances, _, _>(instance::run)
        .add::<e::ListInstances, _, _>(instance::list)
        .add::<e::ShowInstance, _, _>(instance::show)
        .add::<e::SetInstance, _, _>(instance::set)
        .add::<e::TerminateInstance, _, _>(instance::terminate)
        .add::<e::StartInstance, _, _>(instance::start)
        .add::<e::StopInstance, _, _>(instance::stop)
        .add::<e::RebootInstance, _, _>(instance::reboot)
        .add::<e::ShowConsole, _, _>(instance::console)
        .add::<e::ExplainInstance, _, _>(instance::explain)
        .add::<e::ListInstanceTypes, _, _>(instance::types)
        .add::<e::ListImages, _, _>(image::list)
        .add::<e::ShowImage, _, _>(image::show)
        .add::<e::DeleteImage, _, _>(image::delete)
        .add::<e::ImportImage, _, _>(image::import)
        .add::<e::ListImportTasks, _, _>(image::list_tasks)
        .add::<e::ShowImportTask, _, _>(image::show_task)
        .add_raw::<e::UploadImage, _, _>(image_upload::whole)
        .add::<e::CreateImageUpload, _, _>(image_upload::create)
        .add::<e::ShowImageUpload, _, _>(image_upload::show)
        .add_raw::<e::AppendImageUpload, _, _>(image_upload::append)
        .add::<e::DeleteImageUpload, _, _>(image_upload::delete)
        .add::<e::CompleteImageUpload, _, _>(image_upload::complete)
        .add::<e::CreateKeyPair, _, _>(key_pair::create)
        .add::<e::ListKeyPairs, _, _>(key_pair::list)
        .add::<e::ShowKeyPair, _, _>(key_pair::show)
        .add::<e::DeleteKeyPair, _, _>(key_pair::delete)
        .add::<e::CreateSecurityGroup, _, _>(security_group::create)
        .add::<e::ListSecurityGroups, _, _>(security_group::list)
        .add::<e::ShowSecurityGroup, _, _>(security_group::show)
        .add::<e::DeleteSecurityGroup, _, _>(security_group::delete)
        .add::<e::AddSecurityGroupRule, _, _>(security_group::add_rule)
        .add::<e::RemoveSecurityGroupRule, _, _>(security_group::remove_rule)
        .add::<e::CreatePool, _, _>(pool::create)
        .add::<e::ListPools, _, _>(pool::list)
        .add::<e::ShowPool, _, _>(pool::show)
        .add::<e::DrainPool, _, _>(pool::drain)
        .add::<e::UndrainPool, _, _>(pool::undrain)
        .add::<e::DeletePool, _, _>(pool::delete)
        .add::<e::ListLeftovers, _, _>(leftover::list)
        .add::<e::ReclaimPool, _, _>(leftover::reclaim)
        .add::<e::CreateVolume, _, _>(volume::create)
        .add::<e::ListVolumes, _, _>(volume::list)
        .add::<e::ShowVolume, _, _>(volume::show)
        .add::<e::ModifyVolume, _, _>(volume::modify)
        .add::<e::SetVolumeTtl, _, _>(volume::set_ttl)
        .add::<e::AttachVolume, _, _>(volume::attach)
        .add::<e::DetachVolume, _, _>(volume::detach)
        .add::<e::MoveVolume, _, _>(volume_move::begin)
        .add::<e::ListVolumeMoves, _, _>(volume_move::list)
        .add::<e::DeleteVolume, _, _>(volume::delete)
        .add::<e::SnapshotInstance, _, _>(snapshot::of_instance)
        .add::<e::CreateSnapshot, _, _>(snapshot::create)
        .add::<e::SnapshotImage, _, _>(snapshot_image::create)
        .add::<e::CopySnapshot, _, _>(snapshot::copy)
        .add::<e::ListSnapshots, _, _>(snapshot::list)
        .add::<e::ShowSnapshot, _, _>(snapshot::show)
        .add_stream::<e::DownloadSnapshot, _, _>(snapshot_content::download)
        .add::<e::TestSnapshot, _, _>(snapshot::test)
        .add::<e::DeleteSnapshot, _, _>(snapshot::delete)
        .add::<e::CreateSnapshotSchedule, _, _>(snapshot_schedule::create)
        .add::<e::ListSnapshotSchedules, _, _>(snapshot_schedule::list)
        .add::<e::ShowSnapshotSchedule, _, _>(snapshot_schedule::show)
        .add::<e::DeleteSnapshotSchedule, _, _>(snapshot_schedule::delete)
        .add::<e::CreatePlacementGroup, _, _>(placement_group::create)
        .add::<e::ListPlacementGroups, _, _>(placement_group::list)
        .add::<e::DeletePlacementGroup, _, _>(placement_group::delete)
        .add::<e::ListVpcs, _, _>(network::vpcs)
        .add::<e::ListSubnets, _, _>(network::subnets)
        .add::<e::ListNodes, _, _>(node::list)
        .add::<e::ShowNode, _, _>(node::show)
        .add::<e::DrainNode, _, _>(node::drain)
        .add::<e::UndrainNode, _, _>(node::undrain)
        .add::<e::ExpungeNode, _, _>(node::expunge)
        .add::<e::CreateJoinToken, _, _>(node::join_token)
        .add::<e::CreateProject, _, _>(access::create_project)
        .add::<e::ListProjects, _, _>(access::list_projects)
        .add::<e::ShowProject, _, _>(access::show_project)
        .add::<e::DeleteProject, _, _>(access::delete_project)
        .add::<e::SetQuota, _, _>(access::set_quota)
        .add::<e::CreateUser, _, _>(access::create_user)
        .add::<e::ListUsers, _, _>(access::list_users)
        .add::<e::DeleteUser, _, _>(access::delete_user)
        .add::<e::CreateAccessKey, _, _>(access::create_key)
        .add::<e::ListAccessKeys, _, _>(access::list_keys)
        .add::<e::DeleteAccessKey, _, _>(access::delete_key)
        .add::<e::PutTags, _, _>(tag::put)
        .add::<e::ListTags, _, _>(tag::list)
        .add::<e::DeleteTag, _, _>(tag::delete)
        .add::<e::Whoami, _, _>(cloud::whoami)
        .add::<e::ListEvents, _, _>(cloud::events)
        .add::<e::ShowCapacity, _, _>(cloud::capacity)
        .add::<e::RunDoctor, _, _>(cloud::doctor)
        .add::<e::FixFindings, _, _>(cloud::fix)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn every_endpoint_of_the_registry_has_a_handler() {
        let routed: HashSet<_> = super::routes().names().iter().copied().collect();
        let registered: HashSet<_> = tepui_types::endpoint::ALL.iter().map(|e| e.name).collect();
        assert_eq!(routed, registered);
    }
}
