//! Replies as trees.

use quick_xml::Reader;
use quick_xml::events::Event;

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) root: Element,
    pub(crate) body: String,
    /// What it says of its length.
    pub(crate) bytes: Option<usize>,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    pub(crate) text: String,
    pub(crate) children: Vec<Element>,
}

impl Reply {
    /// The code of an error, in either service's form.
    pub(crate) fn error_code(&self) -> Option<String> {
        let error = match self.root.name.as_str() {
            "Response" => self.root.get("Errors.Error"),
            "ErrorResponse" => self.root.get("Error"),
            _ => None,
        };
        Some(error?.text_at("Code").to_owned())
    }
}

impl Element {
    pub(crate) fn parse(xml: &str) -> Self {
        let mut reader = Reader::from_str(xml);
        let mut stack = vec![Self::default()];
        loop {
            match reader.read_event().unwrap() {
                Event::Start(start) => {
                    let namespace = start.try_get_attribute("xmlns").unwrap();
                    stack.push(Self {
                        name: start.name().as_ref().to_owned(),
                        namespace: namespace.map(|attribute| attribute.value.into_owned()),
                        ..Self::default()
                    });
                }
                Event::End(_) => {
                    let done = stack.pop().unwrap();
                    stack.last_mut().unwrap().children.push(done);
                }
                Event::Text(text) => stack.last_mut().unwrap().text += &text.xml10_content(),
                Event::GeneralRef(name) => {
                    let c = name.resolve_char_ref().unwrap();
                    let text = c.map(String::from);
                    let text =
                        text.unwrap_or_else(|| quick_xml::escape::resolve_xml_entity(&name).unwrap().into());
                    stack.last_mut().unwrap().text += &text;
                }
                Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(stack.len(), 1, "{xml}");
        stack.pop().unwrap().children.pop().unwrap()
    }

    /// The element at a dotted path, the first of each name.
    pub(crate) fn get(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |at, name| at.children.iter().find(|child| child.name == name))
    }

    pub(crate) fn text_at(&self, path: &str) -> &str {
        &self.get(path).unwrap_or_else(|| panic!("no {path} in {self:?}")).text
    }

    /// The elements of a list.
    pub(crate) fn items(&self, path: &str) -> &[Self] {
        &self.get(path).unwrap_or_else(|| panic!("no {path} in {self:?}")).children
    }
}
