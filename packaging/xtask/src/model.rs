//! The service model as botocore ships it: only the parts that the generator reads.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use flate2::read::GzDecoder;
use serde::Deserialize;

/// One service.
#[derive(Deserialize)]
pub(crate) struct Model {
    pub(crate) operations: BTreeMap<String, Operation>,
    pub(crate) shapes: BTreeMap<String, Shape>,
}

#[derive(Deserialize)]
pub(crate) struct Operation {
    pub(crate) input: Option<Reference>,
    pub(crate) output: Option<Reference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reference {
    pub(crate) shape: String,
    location_name: Option<String>,
    query_name: Option<String>,
    #[serde(default)]
    pub(crate) idempotency_token: bool,
}

#[derive(Deserialize)]
pub(crate) struct Shape {
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    #[serde(default)]
    pub(crate) members: BTreeMap<String, Reference>,
    pub(crate) member: Option<Reference>,
    #[serde(default)]
    pub(crate) required: Vec<String>,
    #[serde(default, rename = "enum")]
    pub(crate) values: Vec<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    String,
    Boolean,
    Integer,
    Long,
    Double,
    Float,
    Timestamp,
    Blob,
    List,
    Map,
    Structure,
}

impl Model {
    /// Reads `data/{service}/{version}/service-2.json[.gz]` below the botocore package.
    pub(crate) fn load(botocore: &Path, service: &str, version: &str) -> Result<Self> {
        let plain = botocore.join("data").join(service).join(version).join("service-2.json");
        let packed = plain.with_extension("json.gz");
        let mut text = String::new();
        if packed.exists() {
            GzDecoder::new(File::open(&packed)?).read_to_string(&mut text)
        } else {
            File::open(&plain)
                .with_context(|| format!("no model at {}", plain.display()))?
                .read_to_string(&mut text)
        }
        .with_context(|| format!("cannot read the model of {service}"))?;
        serde_json::from_str(&text).with_context(|| format!("the model of {service} has another form"))
    }

    /// A shape by its name.
    pub(crate) fn shape(&self, name: &str) -> Result<&Shape> {
        self.shapes.get(name).with_context(|| format!("the model has no shape {name}"))
    }

    /// What the elements of the list shape `name` are.
    pub(crate) fn element(&self, name: &str) -> Result<&Reference> {
        self.shape(name)?.member.as_ref().with_context(|| format!("{name} is not a list"))
    }
}

impl Shape {
    /// A member by its name.
    pub(crate) fn reference(&self, shape: &str, member: &str) -> Result<&Reference> {
        match self.members.get(member) {
            Some(reference) => Ok(reference),
            None => bail!("{shape} has no member {member}"),
        }
    }
}

impl Reference {
    /// The member's name in an ec2Query request: `queryName`, else `locationName` or the member's
    /// name with its first letter in upper case.
    pub(crate) fn request_name(&self, member: &str) -> String {
        if let Some(name) = &self.query_name {
            return name.clone();
        }
        let name = self.location_name.as_deref().unwrap_or(member);
        let mut letters = name.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
    }

    /// The element's name in a reply.
    pub(crate) fn reply_name<'a>(&'a self, member: &'a str) -> &'a str {
        self.location_name.as_deref().unwrap_or(member)
    }
}
