//! Repeating a create is safe: the same name with the same content answers with the object that is
//! there; other content is refused with the field that differs.

use tepui_types::ErrorCode;

use crate::exit::Exit;
use crate::failure::{Failure, Result};

/// A field that the command line asked for: name, wanted and present value.
pub(crate) type Field = (&'static str, String, String);

/// Whether the cloud refused because the name is taken.
pub(crate) fn is_taken(failure: &Failure) -> bool {
    failure.code == Some(ErrorCode::AlreadyExists)
}

/// Whether the object that is there is what was asked for.
///
/// # Errors
/// A field differs.
pub(crate) fn same(noun: &str, name: &str, fields: &[Field]) -> Result<()> {
    let Some((field, wanted, present)) = fields.iter().find(|(_, wanted, present)| wanted != present) else {
        return Ok(());
    };
    Err(Failure::new(Exit::Failed, format!("{noun} '{name}' is there already, with another {field}"))
        .why(format!("{field}: asked for '{wanted}', there is '{present}'"))
        .try_(format!("tepui {noun} show {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_field_that_differs_is_named() {
        let fields =
            |kept: &str| vec![("image", "a".into(), "a".into()), ("type", "big".into(), kept.into())];
        assert_eq!(same("instance", "web", &fields("big")), Ok(()));
        let failure = same("instance", "web", &fields("small")).unwrap_err();
        assert_eq!(failure.why, ["type: asked for 'big', there is 'small'"]);
    }
}
