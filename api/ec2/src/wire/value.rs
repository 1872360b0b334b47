//! Scalars: how each is read and written.

use data_encoding::{BASE64, BASE64_MIME_PERMISSIVE};
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

use super::{Params, Read, Text, Write, Xml};
use crate::error::ApiError;

/// Bytes that travel as base64.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Blob(pub(crate) Vec<u8>);

impl Blob {
    /// Decodes base64 in which clients may have put line breaks.
    pub(crate) fn decode(parameter: &str, text: &str) -> Result<Self, ApiError> {
        let bytes = BASE64_MIME_PERMISSIVE.decode(text.trim().as_bytes());
        bytes.map(Self).map_err(|_| {
            ApiError::new(
                "InvalidParameterValue",
                format!("Invalid BASE64 encoding of parameter {parameter}"),
            )
        })
    }
}

/// Prints milliseconds.
pub(super) const TIME: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// A time as EC2 writes it, for example `2026-01-02T03:04:05.000Z`.
pub(crate) fn timestamp(time: Timestamp) -> String {
    TIME.timestamp_to_string(&time)
}

fn parsed<T>(
    from: &mut Params,
    rule: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, ApiError> {
    let Some(text) = from.take_value() else { return Ok(None) };
    match parse(&text) {
        Some(value) => Ok(Some(value)),
        None => Err(ApiError::invalid_value(from.name(), &text, rule)),
    }
}

impl Read for bool {
    fn read(from: &mut Params) -> Result<Option<Self>, ApiError> {
        parsed(from, "It is true or false.", |text| match text {
            "true" | "True" => Some(true),
            "false" | "False" => Some(false),
            _ => None,
        })
    }
}

impl Read for i64 {
    fn read(from: &mut Params) -> Result<Option<Self>, ApiError> {
        parsed(from, "It is an integer.", |text| text.parse().ok())
    }
}

impl Read for Blob {
    fn read(from: &mut Params) -> Result<Option<Self>, ApiError> {
        from.take_value().map(|text| Self::decode(from.name(), &text)).transpose()
    }
}

impl Write for Text {
    fn write(&self, to: &mut Xml) {
        to.text(self);
    }
}

impl Write for bool {
    fn write(&self, to: &mut Xml) {
        to.raw(if *self { "true" } else { "false" });
    }
}

impl Write for i64 {
    fn write(&self, to: &mut Xml) {
        to.number(*self);
    }
}

impl Write for Timestamp {
    fn write(&self, to: &mut Xml) {
        to.time(*self);
    }
}

impl Write for Blob {
    fn write(&self, to: &mut Xml) {
        to.text(&BASE64.encode(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Read>(value: &str) -> Result<Option<T>, ApiError> {
        Params::new([("A".to_owned(), value.to_owned())]).unwrap().optional("A")
    }

    #[test]
    fn scalars_are_read_or_refused_by_name() {
        assert_eq!(read("true"), Ok(Some(true)));
        assert_eq!(read("-7"), Ok(Some(-7)));
        assert_eq!(read("aGk=\naGk="), Ok(Some(Blob(b"hihi".into()))));
        for error in [
            read::<bool>("yes").unwrap_err(),
            read::<i64>("9e9").unwrap_err(),
            read::<Blob>("a").unwrap_err(),
        ] {
            assert_eq!(error.code, "InvalidParameterValue");
            assert!(error.message.contains("parameter A"), "{}", error.message);
        }
    }

    #[test]
    fn times_have_milliseconds_and_z() {
        assert_eq!(timestamp("2026-01-02T03:04:05.0069Z".parse().unwrap()), "2026-01-02T03:04:05.006Z");
    }
}
