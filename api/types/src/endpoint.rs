//! The registry of REST endpoints: the one place where method, path, request and reply of each
//! operation stand. The server's router, the typed client and the OpenAPI document come from it.
//!
//! A path parameter such as `{instance}` takes an id, a name, or a prefix of at least four
//! characters of either that fits only one object. Requests and replies are in [`crate::rest`].

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::rest::*;

/// With this header set to `true` a change is only rehearsed: authorized, checked and written as
/// always, undone, and answered with status 204 where it would have been carried out.
pub const DRY_RUN_HEADER: &str = "tepui-dry-run";

/// HTTP's method of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Creates or acts.
    Post,
    /// Writes whole, safe to repeat.
    Put,
    /// Changes in part.
    Patch,
    /// Removes, safe to repeat.
    Delete,
}

impl Method {
    /// The method's token in a request line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }

    /// Whether the same request twice does no more than once (RFC 9110 §9.2.2).
    pub const fn is_idempotent(self) -> bool {
        match self {
            Method::Get | Method::Put | Method::Delete => true,
            Method::Post | Method::Patch => false,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an endpoint's request travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// In the query string.
    Query,
    /// As a JSON body.
    Json,
    /// In the query string, beside a body of raw bytes.
    RawBody,
}

/// The form of an endpoint's reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Media {
    /// A JSON value.
    Json,
    /// Frames of zstd, as they come.
    Zstd,
}

impl Media {
    /// Its name in headers.
    pub const fn name(self) -> &'static str {
        match self {
            Media::Json => "application/json",
            Media::Zstd => "application/zstd",
        }
    }
}

/// One operation of the REST surface.
pub trait Endpoint {
    /// The operation's name, for example `RunInstances`.
    const NAME: &'static str;
    /// Its name in the audit: that of EC2's action which does the same, else [`Endpoint::NAME`]. Where two
    /// such actions are one endpoint, the name until the request tells which of them is meant.
    const ACTION: &'static str;
    /// HTTP's method.
    const METHOD: Method;
    /// The path with its parameters in braces, for example `/v1/instances/{instance}`.
    const PATH: &'static str;
    /// What it does, in a line.
    const SUMMARY: &'static str;
    /// Where the request travels.
    const CARRIER: Carrier;
    /// The form of the reply.
    const MEDIA: Media;
    /// What goes to the server.
    type Request: Serialize + DeserializeOwned + JsonSchema + Send + Sync;
    /// What comes back with status 200.
    type Reply: Serialize + DeserializeOwned + JsonSchema + Send + Sync;
}

/// An [`Endpoint`] as a value, for documents and completeness tests.
#[derive(Clone, Copy)]
pub struct EndpointInfo {
    /// [`Endpoint::NAME`].
    pub name: &'static str,
    /// [`Endpoint::ACTION`].
    pub action: &'static str,
    /// [`Endpoint::METHOD`].
    pub method: Method,
    /// [`Endpoint::PATH`].
    pub path: &'static str,
    /// [`Endpoint::SUMMARY`].
    pub summary: &'static str,
    /// [`Endpoint::CARRIER`].
    pub carrier: Carrier,
    /// [`Endpoint::MEDIA`].
    pub media: Media,
    /// Schema of the request; shared definitions go into the generator.
    pub request_schema: fn(&mut SchemaGenerator) -> Schema,
    /// Schema of the reply; shared definitions go into the generator.
    pub reply_schema: fn(&mut SchemaGenerator) -> Schema,
}

impl EndpointInfo {
    const fn of<E: Endpoint>() -> Self {
        Self {
            name: E::NAME,
            action: E::ACTION,
            method: E::METHOD,
            path: E::PATH,
            summary: E::SUMMARY,
            carrier: E::CARRIER,
            media: E::MEDIA,
            request_schema: |generator| generator.subschema_for::<E::Request>(),
            reply_schema: |generator| generator.subschema_for::<E::Reply>(),
        }
    }
}

/// The names of a path's parameters, in their order.
pub fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

macro_rules! action {
    ($name:ident) => {
        stringify!($name)
    };
    ($name:ident $action:ident) => {
        stringify!($action)
    };
}

macro_rules! media {
    () => {
        Media::Json
    };
    ($media:ident) => {
        Media::$media
    };
}

macro_rules! endpoints {
    ($(
        $carrier:ident $method:ident $path:literal
        $name:ident $(as $action:ident)? ($request:ty) -> $reply:ty $(as $media:ident)?, $summary:literal;
    )*) => {
        $(
            #[doc = $summary]
            #[derive(Debug, Clone, Copy)]
            pub struct $name;

            impl Endpoint for $name {
                const NAME: &'static str = stringify!($name);
                const ACTION: &'static str = action!($name $($action)?);
                const METHOD: Method = Method::$method;
                const PATH: &'static str = $path;
                const SUMMARY: &'static str = $summary;
                const CARRIER: Carrier = Carrier::$carrier;
                const MEDIA: Media = media!($($media)?);
                type Request = $request;
                type Reply = $reply;
            }
        )*

        /// Every operation, in the order of this file.
        pub const ALL: &[EndpointInfo] = &[$(EndpointInfo::of::<$name>()),*];
    };
}

endpoints! {
    Json Post "/v1/instances" RunInstances(RunInstancesRequest) -> List<Instance>, "Launches instances, all or none.";
    Query Get "/v1/instances" ListInstances(ListInstancesRequest) -> List<Instance>, "Lists the project's instances.";
    Query Get "/v1/instances/{instance}" ShowInstance(Empty) -> Instance, "Shows an instance.";
    Json Patch "/v1/instances/{instance}" SetInstance as ModifyInstanceAttribute(SetInstanceRequest) -> Instance, "Changes attributes of an instance.";
    Query Delete "/v1/instances/{instance}" TerminateInstance as TerminateInstances(Empty) -> Instance, "Terminates an instance; its root disk goes with it.";
    Json Post "/v1/instances/{instance}/start" StartInstance as StartInstances(Empty) -> Instance, "Starts a stopped instance: on the node that holds its root disk, or wherever there is room if it boots from a volume.";
    Json Post "/v1/instances/{instance}/stop" StopInstance as StopInstances(StopInstanceRequest) -> Instance, "Stops an instance; disks and addresses stay.";
    Json Post "/v1/instances/{instance}/reboot" RebootInstance as RebootInstances(Empty) -> Instance, "Reboots a running instance.";
    Json Post "/v1/instances/{instance}/snapshots" SnapshotInstance as CreateSnapshots(SnapshotInstanceRequest) -> List<Snapshot>, "Takes a snapshot of each disk of an instance, used or not.";
    Query Get "/v1/instances/{instance}/console" ShowConsole(ShowConsoleRequest) -> ConsoleOutput, "Shows the end of an instance's serial console.";
    Query Get "/v1/instances/{instance}/explain" ExplainInstance(Empty) -> Explanation, "Tells why an instance is where it is.";
    Query Get "/v1/instance-types" ListInstanceTypes(Empty) -> List<InstanceType>, "Lists the instance types.";

    Query Get "/v1/images" ListImages(Empty) -> List<Image>, "Lists the project's images and the public ones.";
    Query Get "/v1/images/{image}" ShowImage(Empty) -> Image, "Shows an image.";
    Query Delete "/v1/images/{image}" DeleteImage as DeregisterImage(Empty) -> Empty, "Withdraws an image; running instances are untouched.";
    Json Post "/v1/import-tasks" ImportImage(ImportImageRequest) -> ImportTask, "Imports an image from a URL.";
    RawBody Post "/v1/images" UploadImage as ImportImage(UploadImageRequest) -> ImportTask, "Imports an image from the request's body.";
    Json Post "/v1/image-uploads" CreateImageUpload(CreateImageUploadRequest) -> ImageUpload, "Begins an upload that can be resumed.";
    Query Get "/v1/image-uploads/{upload}" ShowImageUpload(Empty) -> ImageUpload, "Shows how many bytes of an upload are durable.";
    RawBody Put "/v1/image-uploads/{upload}" AppendImageUpload(AppendImageUploadRequest) -> ImageUpload, "Appends the request's body to an upload.";
    Query Delete "/v1/image-uploads/{upload}" DeleteImageUpload(Empty) -> Empty, "Gives up an upload.";
    Json Post "/v1/image-uploads/{upload}/complete" CompleteImageUpload as ImportImage(CompleteImageUploadRequest) -> ImportTask, "Checks an upload's digest and begins its import.";
    Query Get "/v1/import-tasks" ListImportTasks(Empty) -> List<ImportTask>, "Lists the project's imports.";
    Query Get "/v1/import-tasks/{task}" ShowImportTask(Empty) -> ImportTask, "Shows an import.";

    Json Post "/v1/key-pairs" CreateKeyPair(CreateKeyPairRequest) -> CreatedKeyPair, "Makes a key pair, or imports a public key.";
    Query Get "/v1/key-pairs" ListKeyPairs(Empty) -> List<KeyPair>, "Lists the project's key pairs.";
    Query Get "/v1/key-pairs/{key_pair}" ShowKeyPair(Empty) -> KeyPair, "Shows a key pair.";
    Query Delete "/v1/key-pairs/{key_pair}" DeleteKeyPair(Empty) -> Empty, "Deletes a key pair; running instances keep their key.";

    Json Post "/v1/security-groups" CreateSecurityGroup(CreateSecurityGroupRequest) -> SecurityGroup, "Creates a security group that lets everything out and nothing in.";
    Query Get "/v1/security-groups" ListSecurityGroups(Empty) -> List<SecurityGroup>, "Lists the project's security groups.";
    Query Get "/v1/security-groups/{group}" ShowSecurityGroup(Empty) -> SecurityGroup, "Shows a security group with its rules.";
    Query Delete "/v1/security-groups/{group}" DeleteSecurityGroup(Empty) -> Empty, "Deletes a security group that nothing uses.";
    Json Post "/v1/security-groups/{group}/rules" AddSecurityGroupRule as AuthorizeSecurityGroupIngress(RuleRequest) -> SecurityGroup, "Allows something.";
    Json Post "/v1/security-groups/{group}/rules/remove" RemoveSecurityGroupRule as RevokeSecurityGroupIngress(RuleRequest) -> SecurityGroup, "Removes the rule that equals this one.";

    Json Post "/v1/pools" CreatePool(CreatePoolRequest) -> Pool, "Creates a pool of volumes. For administrators.";
    Query Get "/v1/pools" ListPools(Empty) -> List<Pool>, "Lists the pools. For administrators.";
    Query Get "/v1/pools/{pool}" ShowPool(Empty) -> Pool, "Shows a pool. For administrators.";
    Json Post "/v1/pools/{pool}/drain" DrainPool(Empty) -> Pool, "Keeps new volumes out of a pool. For administrators.";
    Json Post "/v1/pools/{pool}/undrain" UndrainPool(Empty) -> Pool, "Lets new volumes into a pool again. For administrators.";
    Query Delete "/v1/pools/{pool}" DeletePool(Empty) -> Empty, "Deletes a pool without volumes and snapshots. For administrators.";
    Query Get "/v1/pools/{pool}/leftovers" ListLeftovers(Empty) -> List<Leftover>, "Lists what takes room in a pool beside its volumes and snapshots: what was removed, what nothing names, unused images. For administrators.";
    Json Post "/v1/pools/{pool}/reclaim" ReclaimPool(Empty) -> List<Leftover>, "Unlinks what was removed in a pool before its grace is over. For administrators.";

    Json Post "/v1/volumes" CreateVolume(CreateVolumeRequest) -> Volume, "Creates a volume.";
    Query Get "/v1/volumes" ListVolumes(Empty) -> List<Volume>, "Lists the project's volumes, root disks included.";
    Query Get "/v1/volumes/{volume}" ShowVolume(Empty) -> Volume, "Shows a volume.";
    Json Patch "/v1/volumes/{volume}" ModifyVolume(ModifyVolumeRequest) -> Volume, "Grows a volume or changes its limits, also under a guest.";
    Json Put "/v1/volumes/{volume}/ttl" SetVolumeTtl(SetVolumeTtlRequest) -> Volume, "Sets when a volume is deleted by itself, or that it is not.";
    Json Post "/v1/volumes/{volume}/attach" AttachVolume(AttachVolumeRequest) -> Volume, "Attaches a volume to an instance.";
    Json Post "/v1/volumes/{volume}/detach" DetachVolume(DetachVolumeRequest) -> Volume, "Detaches a volume from its instance.";
    Query Delete "/v1/volumes/{volume}" DeleteVolume(Empty) -> Empty, "Deletes a volume that nobody uses.";
    Json Post "/v1/snapshots" CreateSnapshot(CreateSnapshotRequest) -> Snapshot, "Takes a snapshot of a volume.";
    Json Post "/v1/snapshots/{snapshot}/copy" CopySnapshot(CopySnapshotRequest) -> Snapshot, "Copies a snapshot, also to another pool or host.";
    Query Get "/v1/snapshots" ListSnapshots(Empty) -> List<Snapshot>, "Lists the project's snapshots.";
    Query Get "/v1/snapshots/{snapshot}" ShowSnapshot(Empty) -> Snapshot, "Shows a snapshot.";
    Query Get "/v1/snapshots/{snapshot}/content" DownloadSnapshot(DownloadSnapshotRequest) -> DiskContent as Zstd, "Sends what a snapshot holds, as it comes from its host.";
    Query Delete "/v1/snapshots/{snapshot}" DeleteSnapshot(Empty) -> Empty, "Deletes a snapshot; volumes made from it stay.";

    Json Post "/v1/snapshot-schedules" CreateSnapshotSchedule(CreateSnapshotScheduleRequest) -> SnapshotSchedule, "Takes snapshots again and again of all volumes that have a tag.";
    Query Get "/v1/snapshot-schedules" ListSnapshotSchedules(Empty) -> List<SnapshotSchedule>, "Lists the project's schedules of snapshots.";
    Query Get "/v1/snapshot-schedules/{schedule}" ShowSnapshotSchedule(Empty) -> SnapshotSchedule, "Shows a schedule of snapshots.";
    Query Delete "/v1/snapshot-schedules/{schedule}" DeleteSnapshotSchedule(Empty) -> Empty, "Deletes a schedule; the snapshots that it made stay.";

    Json Post "/v1/placement-groups" CreatePlacementGroup(CreatePlacementGroupRequest) -> PlacementGroup, "Creates a placement group.";
    Query Get "/v1/placement-groups" ListPlacementGroups(Empty) -> List<PlacementGroup>, "Lists the project's placement groups.";
    Query Delete "/v1/placement-groups/{placement_group}" DeletePlacementGroup(Empty) -> Empty, "Deletes a placement group without members.";

    Query Get "/v1/vpcs" ListVpcs(Empty) -> List<Vpc>, "Lists the project's VPCs.";
    Query Get "/v1/subnets" ListSubnets(Empty) -> List<Subnet>, "Lists the project's subnets.";

    Query Get "/v1/nodes" ListNodes(Empty) -> List<Node>, "Lists the nodes. For administrators.";
    Query Get "/v1/nodes/{node}" ShowNode(Empty) -> Node, "Shows a node. For administrators.";
    Json Post "/v1/nodes/{node}/drain" DrainNode(Empty) -> Node, "Keeps new instances off a node. For administrators.";
    Json Post "/v1/nodes/{node}/undrain" UndrainNode(Empty) -> Node, "Lets new instances onto a node again. For administrators.";
    Json Post "/v1/nodes/{node}/expunge" ExpungeNode(ExpungeNodeRequest) -> ExpungedNode, "Gives a node up for good, and every instance on it. For administrators.";
    Json Post "/v1/join-tokens" CreateJoinToken(Empty) -> JoinToken, "Makes a token that lets one host enrol, for an hour. For administrators.";

    Json Post "/v1/projects" CreateProject(CreateProjectRequest) -> Project, "Creates a project with its default network. For administrators.";
    Query Get "/v1/projects" ListProjects(Empty) -> List<Project>, "Lists the projects. For administrators.";
    Query Get "/v1/projects/{project}" ShowProject(Empty) -> Project, "Shows a project. For administrators.";
    Query Delete "/v1/projects/{project}" DeleteProject(Empty) -> Empty, "Deletes a project that owns nothing. For administrators.";
    Json Put "/v1/projects/{project}/quota" SetQuota(Quota) -> Project, "Sets a project's quota. For administrators.";

    Json Post "/v1/users" CreateUser(CreateUserRequest) -> User, "Creates a user. For administrators.";
    Query Get "/v1/users" ListUsers(Empty) -> List<User>, "Lists the users. For administrators.";
    Query Delete "/v1/users/{user}" DeleteUser(Empty) -> Empty, "Deletes a user without access keys. For administrators.";

    Json Post "/v1/access-keys" CreateAccessKey(CreateAccessKeyRequest) -> CreatedAccessKey, "Makes an access key and shows its secret, once. For administrators.";
    Query Get "/v1/access-keys" ListAccessKeys(ListAccessKeysRequest) -> List<AccessKey>, "Lists the access keys of a project.";
    Query Delete "/v1/access-keys/{access_key}" DeleteAccessKey(ListAccessKeysRequest) -> Empty, "Deletes an access key; it ends at once. For administrators.";

    Json Put "/v1/tags" PutTags as CreateTags(PutTagsRequest) -> Empty, "Sets tags on a resource.";
    Query Get "/v1/tags" ListTags(ListTagsRequest) -> List<Tag>, "Lists the project's tags.";
    Query Delete "/v1/tags" DeleteTag as DeleteTags(DeleteTagRequest) -> Empty, "Removes a tag from a resource.";

    Query Get "/v1/whoami" Whoami(Empty) -> Identity, "Tells who the credential is, and what its project may use.";
    Query Get "/v1/events" ListEvents(ListEventsRequest) -> List<Event>, "Lists the project's newest changes, or calls that were refused: who, when, what.";
    Query Get "/v1/capacity" ShowCapacity(Empty) -> Capacity, "Tells how many instances of each type fit now.";
    Query Get "/v1/doctor" RunDoctor(Empty) -> DoctorReport, "Compares what should be with what is. For administrators.";
    Json Post "/v1/doctor/fix" FixFindings(Empty) -> DoctorReport, "Puts right what the doctor finds where that risks nothing, and compares again. For administrators.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_operation_has_a_name_and_a_route_of_its_own() {
        let names: HashSet<_> = ALL.iter().map(|endpoint| endpoint.name).collect();
        let routes: HashSet<_> = ALL.iter().map(|endpoint| (endpoint.method, endpoint.path)).collect();
        assert_eq!(names.len(), ALL.len());
        assert_eq!(routes.len(), ALL.len());
    }

    #[test]
    fn reading_and_removing_travel_in_the_query_and_writing_in_a_body() {
        for endpoint in ALL {
            let in_query = matches!(endpoint.method, Method::Get | Method::Delete);
            assert_eq!(endpoint.carrier == Carrier::Query, in_query, "{}", endpoint.name);
        }
    }

    #[test]
    fn parameters_are_found_in_their_order() {
        let parameters: Vec<_> = path_parameters("/v1/a/{first}/b/{second}").collect();
        assert_eq!(parameters, ["first", "second"]);
    }
}
