//! The domain XML: [`elements`] is the part of libvirt's format that we use, [`machine`] and
//! [`devices`] fill it in. Values are escaped by the serializer and nowhere else.

mod capture;
mod devices;
mod elements;
mod machine;
mod scratch_disk;
#[cfg(test)]
mod tests;
mod volume_disk;

use quick_xml::se::Serializer;
use serde::Serialize;

use crate::{DomainSpec, Error};

pub(crate) use capture::capture_xml;
pub(crate) use volume_disk::{detach_xml, disk_xml, secret_xml, volumes};

/// The XML of the domain that `spec` asks for.
pub(crate) fn domain_xml(spec: &DomainSpec) -> Result<String, Error> {
    spec.validate()?;
    write(&machine::domain(spec)?)
}

fn write(element: &impl Serialize) -> Result<String, Error> {
    let mut text = String::new();
    let mut serializer = Serializer::new(&mut text);
    serializer.indent(' ', 2);
    let written = element.serialize(serializer);
    written.map(|_| text).map_err(|error| Error::Spec {
        field: "spec",
        value: error.to_string(),
        rule: "must be writable as XML",
    })
}
