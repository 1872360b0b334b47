//! Images.

use std::collections::BTreeMap;

use tepui_core::Kind;
use tepui_db::model::Image;

use super::select::select;
use super::{fixed, text};
use crate::error::ApiError;
use crate::generated::{
    BlockDeviceMapping, DeregisterImageRequest, DeregisterImageResult, DescribeImagesRequest,
    DescribeImagesResult, EbsBlockDevice, Image as Shape,
};
use crate::mechanism::{Field, apply, flag, many, one, parse_id, parse_ids, shown_tags};
use crate::operation::{Context, Handle};
use crate::wire::timestamp;

/// Where every image has its root disk.
pub(super) const ROOT_DEVICE: &str = "/dev/sda1";

const GIB: u64 = 1 << 30;

const FILTERS: &[Field<Shape>] = &[
    ("architecture", |i| one(&i.architecture)),
    ("block-device-mapping.device-name", |i| many(&i.block_device_mappings, |m| &m.device_name)),
    ("boot-mode", |i| one(&i.boot_mode)),
    ("creation-date", |i| one(&i.creation_date)),
    ("description", |i| one(&i.description)),
    ("ena-support", |i| flag(i.ena_support)),
    ("hypervisor", |i| one(&i.hypervisor)),
    ("image-id", |i| one(&i.image_id)),
    ("image-type", |i| one(&i.image_type)),
    ("is-public", |i| flag(i.public)),
    ("name", |i| one(&i.name)),
    ("owner-id", |i| one(&i.owner_id)),
    ("root-device-name", |i| one(&i.root_device_name)),
    ("root-device-type", |i| one(&i.root_device_type)),
    ("state", |i| one(&i.state)),
    ("virtualization-type", |i| one(&i.virtualization_type)),
];

impl Handle for DescribeImagesRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeImagesResult, ApiError> {
        let ids = parse_ids(Kind::Image, &self.image_ids)?;
        let mut images = select(Kind::Image, cx.cloud.images(&cx.caller).await?, &ids, |image| image.id)?;
        images.retain(|image| self.wants(cx, image));
        let mut tags = cx.cloud.tags(&cx.caller).await?;
        let shapes = images
            .into_iter()
            .map(|image| shape(&tags.remove(&image.id.to_string()).unwrap_or_default(), image));
        let shapes = apply(&cx.filters, FILTERS, |image| &image.tags, shapes.collect())?;
        let (images, next_token) =
            cx.page.cut(shapes, |image| image.image_id.clone().unwrap_or_default().into());
        Ok(DescribeImagesResult { images, next_token })
    }
}

impl DescribeImagesRequest {
    /// Owners are account ids or `self`; other words, such as `amazon`, name nobody here.
    fn wants(&self, cx: &Context, image: &Image) -> bool {
        let own = image.project_id == cx.caller.project;
        let owner = image.project_id.to_string();
        let owned = self.owners.is_empty() || self.owners.iter().any(|o| *o == owner || (o == "self" && own));
        let may = |user: &str| if user == "all" { image.public } else { own && user == "self" };
        owned && (self.executable_users.is_empty() || self.executable_users.iter().any(|user| may(user)))
    }
}

impl Handle for DeregisterImageRequest {
    async fn handle(self, cx: &Context) -> Result<DeregisterImageResult, ApiError> {
        cx.cloud.deregister_image(&cx.caller, parse_id(Kind::Image, &self.image_id)?).await?;
        Ok(DeregisterImageResult { return_: Some(true) })
    }
}

fn shape(tags: &BTreeMap<String, String>, image: Image) -> Shape {
    Shape {
        architecture: fixed("x86_64"),
        block_device_mappings: vec![BlockDeviceMapping {
            virtual_name: None,
            device_name: fixed(ROOT_DEVICE),
            ebs: Some(EbsBlockDevice {
                delete_on_termination: Some(true),
                encrypted: Some(false),
                iops: None,
                snapshot_id: None,
                throughput: None,
                volume_size: i64::try_from(image.size_bytes.div_ceil(GIB)).ok(),
                volume_type: fixed("gp3"),
            }),
        }],
        boot_mode: fixed("legacy-bios"),
        creation_date: text(timestamp(image.created_at)),
        description: Some(image.description.into()),
        ena_support: Some(false),
        hypervisor: fixed("xen"),
        image_id: text(image.id),
        image_location: text(format!("{}/{}", image.project_id, image.name)),
        image_type: fixed("machine"),
        imds_support: fixed("v2.0"),
        name: Some(image.name.into()),
        owner_id: text(image.project_id),
        platform_details: fixed("Linux/UNIX"),
        public: Some(image.public),
        root_device_name: fixed(ROOT_DEVICE),
        root_device_type: fixed("ebs"),
        state: fixed("available"),
        tags: shown_tags(tags),
        usage_operation: fixed("RunInstances"),
        virtualization_type: fixed("hvm"),
    }
}
