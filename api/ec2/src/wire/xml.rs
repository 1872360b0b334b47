//! A writer that appends to one string: 5,000 instances are a few megabytes, which a document tree
//! would hold many times over.

use jiff::Timestamp;

use super::value::TIME;

/// The document so far.
#[derive(Debug, Default)]
pub(crate) struct Xml(String);

/// Where a part of a reply ends: large enough that its way to the client costs more than its end,
/// small enough that nothing else waits long for a thread that writes it.
const PART: usize = 256 << 10;

/// The content of an element.
pub(crate) trait Write {
    fn write(&self, to: &mut Xml);
}

/// The content of a document. What may grow to megabytes has parts, so that the client reads one
/// while the next is written.
pub(crate) trait Content: Send + 'static {
    /// Writes the next part; returns whether there is more.
    fn write_part(&mut self, to: &mut Xml) -> bool;

    /// How many bytes all parts have together, where that is known before they are written: a client
    /// then reads them into one piece of memory.
    fn bytes(&self) -> Option<usize> {
        None
    }
}

impl<T: Write + Send + 'static> Content for T {
    fn write_part(&mut self, to: &mut Xml) -> bool {
        self.write(to);
        false
    }
}

impl Xml {
    /// `<?xml …?>`.
    pub(crate) fn document() -> Self {
        Self("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".into())
    }

    /// An element with what `content` writes.
    #[inline(always)]
    pub(crate) fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.open(name);
        content(self);
        self.close(name);
    }

    /// An element in a namespace.
    pub(crate) fn root(&mut self, name: &str, namespace: &str, content: impl FnOnce(&mut Self)) {
        self.0.extend(["<", name, " xmlns=\"", namespace, "\">"]);
        content(self);
        self.close(name);
    }

    /// An element, or nothing: an absent scalar is left out, never empty.
    #[inline(always)]
    pub(crate) fn optional<T: Write>(&mut self, name: &str, value: &Option<T>) {
        if let Some(value) = value {
            self.element(name, |to| value.write(to));
        }
    }

    /// An element with one `item` for each value; without values it is empty.
    pub(crate) fn list<T: Write>(&mut self, name: &str, values: &[T]) {
        self.element(name, |to| values.iter().for_each(|value| to.element("item", |to| value.write(to))));
    }

    /// An element with a text.
    pub(crate) fn field(&mut self, name: &str, text: &str) {
        self.element(name, |to| to.text(text));
    }

    /// Text with markup escaped. A character that XML 1.0 forbids even as a reference becomes
    /// U+FFFD, so that no tag or console can make a reply unreadable.
    pub(crate) fn text(&mut self, text: &str) {
        // Without a way out in the middle: most texts are short, and most have nothing to escape.
        if text.bytes().fold(true, |plain, byte| plain & PLAIN[usize::from(byte)]) {
            self.0.push_str(text);
        } else {
            self.escaped(text);
        }
    }

    fn escaped(&mut self, text: &str) {
        let mut plain = 0;
        for (at, c) in text.char_indices() {
            let Some(escape) = escape(c) else { continue };
            self.0.push_str(&text[plain..at]);
            self.0.push_str(escape);
            plain = at + c.len_utf8();
        }
        self.0.push_str(&text[plain..]);
    }

    /// A number.
    pub(crate) fn number(&mut self, number: i64) {
        self.0.push_str(itoa::Buffer::new().format(number));
    }

    /// A time.
    pub(crate) fn time(&mut self, time: Timestamp) {
        // A string takes all that is written to it.
        let _ = TIME.print_timestamp(&time, &mut self.0);
    }

    /// Takes what a document has around its content: all before it stays, all behind it is returned.
    pub(crate) fn split_off(&mut self, at: usize) -> String {
        self.0.split_off(at)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a part is large enough.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= PART
    }

    /// Markup as it is.
    pub(crate) fn raw(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    /// An empty part.
    pub(crate) fn part() -> Self {
        // One instance may go beyond the limit.
        Self(String::with_capacity(PART + PART / 8))
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }

    /// The beginning of an element. In line, as is its end: a name's length is then known.
    #[inline(always)]
    pub(crate) fn open(&mut self, name: &str) {
        self.0.push('<');
        self.0.push_str(name);
        self.0.push('>');
    }

    #[inline(always)]
    pub(crate) fn close(&mut self, name: &str) {
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }
}

/// Whether a byte can be no part of anything that [`escape`] changes; 0xEF begins U+FFFE and U+FFFF.
const fn is_plain(byte: u8) -> bool {
    !matches!(byte, b'&' | b'<' | b'>' | b'"' | 0..0x20 | 0xef)
}

/// [`is_plain`] of each byte: one load instead of six comparisons.
static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < plain.len() {
        plain[byte] = is_plain(byte as u8);
        byte += 1;
    }
    plain
};

const fn escape(c: char) -> Option<&'static str> {
    match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '"' => Some("&quot;"),
        // A parser would turn it into a line feed.
        '\r' => Some("&#13;"),
        '\t' | '\n' => None,
        '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => Some("\u{fffd}"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quick_xml::Reader;
    use quick_xml::events::Event;

    use super::*;

    fn text_of(xml: &str) -> String {
        let mut reader = Reader::from_str(xml);
        let mut text = String::new();
        loop {
            match reader.read_event().unwrap() {
                Event::Text(piece) => text.push_str(&piece.xml10_content()),
                Event::GeneralRef(name) => match name.resolve_char_ref().unwrap() {
                    Some(c) => text.push(c),
                    None => text.push_str(quick_xml::escape::resolve_xml_entity(&name).unwrap()),
                },
                Event::Eof => return text,
                _ => {}
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back_but_for_what_xml_forbids(text: String) {
            let mut xml = Xml::default();
            xml.field("a", &text);
            let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
            let expected: String = text.chars().map(|c| if allowed(c) { c } else { '\u{fffd}' }).collect();
            prop_assert_eq!(text_of(&xml.finish()), expected);
        }
    }

    #[test]
    fn an_empty_list_is_an_empty_element_and_an_absent_scalar_nothing() {
        let mut xml = Xml::default();
        xml.list::<bool>("set", &[]);
        xml.optional::<bool>("flag", &None);
        xml.list("set", &[true, false]);
        assert_eq!(xml.finish(), "<set></set><set><item>true</item><item>false</item></set>");
    }
}
