//! The text of a reply, whole or in parts.

use crate::wire::{Content, Xml};

/// The text of a reply.
pub enum Body {
    /// All of it.
    Whole(String),
    /// Its parts in order, each of which is written when it is asked for, and how many bytes they have
    /// together, where that is known.
    Parts(Box<dyn Iterator<Item = String> + Send>, Option<usize>),
}

impl Body {
    /// `begun` with the content and then the `end` of the document.
    pub(crate) fn written(mut begun: Xml, mut content: impl Content, end: String) -> Self {
        let bytes = content.bytes().map(|bytes| begun.len() + bytes + end.len());
        if !content.write_part(&mut begun) {
            begun.raw(&end);
            return Self::Whole(begun.finish());
        }
        let mut end = Some(end);
        let rest = std::iter::from_fn(move || {
            let markup = end.take()?;
            let mut part = Xml::part();
            if content.write_part(&mut part) {
                end = Some(markup);
            } else {
                part.raw(&markup);
            }
            Some(part.finish())
        });
        Self::Parts(Box::new(std::iter::once(begun.finish()).chain(rest)), bytes)
    }

    /// All of it.
    pub fn whole(self) -> String {
        match self {
            Self::Whole(text) => text,
            Self::Parts(parts, _) => parts.collect(),
        }
    }

    /// How long it is, where that is known before it is written.
    pub fn bytes(&self) -> Option<usize> {
        match self {
            Self::Whole(text) => Some(text.len()),
            Self::Parts(_, bytes) => *bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes its number and counts down.
    struct Countdown(u32);

    impl Content for Countdown {
        fn write_part(&mut self, to: &mut Xml) -> bool {
            to.number(self.0.into());
            self.0 -= 1;
            self.0 > 0
        }
    }

    fn parts(count: u32) -> Vec<String> {
        let mut begun = Xml::default();
        begun.raw("<a>");
        match Body::written(begun, Countdown(count), "</a>".into()) {
            Body::Whole(text) => vec![text],
            Body::Parts(parts, _) => parts.collect(),
        }
    }

    #[test]
    fn a_document_is_whole_or_begins_with_its_first_part_and_ends_with_its_last() {
        assert_eq!(parts(1), ["<a>1</a>"]);
        assert_eq!(parts(3), ["<a>3", "2", "1</a>"]);
    }
}
