//! The reply of `DescribeInstances`, the one that grows to megabytes: an instance that did not change is
//! shown as it was written last, and another one is shaped when it is written.

use std::sync::Arc;

use tepui_core::{Cloud, InstanceView};

use super::describe::reservation;
use super::fragment::Fragments;
use super::view::shape;
use crate::generated::GroupIdentifier;
use crate::operation::Context;
use crate::wire::{Content, Text, Write as _, Xml};

/// Instances that are written before the reply begins, so that its length is known: about one part of it.
const AHEAD: usize = 64;

/// Instances in the order in which they are shown.
pub(crate) struct InstanceListing {
    cloud: Arc<Cloud>,
    fragments: Arc<Fragments>,
    views: Vec<InstanceView>,
    /// The text of each view; `None` where it is still to be written.
    texts: Vec<Option<Arc<str>>>,
    next_token: Option<Text>,
    /// How many are written.
    written: usize,
}

impl InstanceListing {
    pub(super) fn new(cx: &Context, views: Vec<InstanceView>, next_token: Option<Text>) -> Self {
        let (cloud, fragments) = (Arc::clone(&cx.cloud), Arc::clone(&cx.fragments));
        let texts = views.iter().map(|view| fragments.get(view)).collect();
        let mut listing = Self { cloud, fragments, views, texts, next_token, written: 0 };
        let missing: Vec<usize> =
            (0..listing.views.len()).filter(|at| listing.texts[*at].is_none()).collect();
        if missing.len() <= AHEAD {
            for index in missing {
                listing.texts[index] = Some(listing.text(index));
            }
        }
        listing
    }

    /// The text of an instance.
    fn text(&self, index: usize) -> Arc<str> {
        if let Some(text) = &self.texts[index] {
            return Arc::clone(text);
        }
        let view = &self.views[index];
        let mut xml = Xml::default();
        xml.element("item", |to| shape(&self.cloud, view).write(to));
        let text = xml.finish().into();
        self.fragments.put(view, &text);
        text
    }

    fn begin(&self, to: &mut Xml) {
        to.optional("nextToken", &self.next_token);
        to.open("reservationSet");
    }

    /// The beginning of its reservation, before the first of those that follow each other in it.
    fn before(&self, to: &mut Xml, index: usize) {
        if !self.shares(index, index.checked_sub(1)) {
            to.open("item");
            to.list::<GroupIdentifier>("groupSet", &[]);
            to.open("instancesSet");
        }
    }

    /// The end of its reservation, behind the last of them.
    fn behind(&self, to: &mut Xml, index: usize) {
        if !self.shares(index, Some(index + 1)) {
            let around = reservation(&self.views[index]);
            to.close("instancesSet");
            to.optional("ownerId", &around.owner_id);
            to.optional("reservationId", &around.reservation_id);
            to.close("item");
        }
    }

    fn shares(&self, index: usize, other: Option<usize>) -> bool {
        let reservation = |view: &InstanceView| view.record.instance.reservation_id;
        let other = other.and_then(|other| self.views.get(other));
        other.is_some_and(|other| reservation(other) == reservation(&self.views[index]))
    }

    fn end(to: &mut Xml) {
        to.close("reservationSet");
    }
}

impl Content for InstanceListing {
    fn write_part(&mut self, to: &mut Xml) -> bool {
        if self.written == 0 {
            self.begin(to);
        }
        while self.written < self.views.len() && !to.is_full() {
            self.before(to, self.written);
            to.raw(&self.text(self.written));
            self.behind(to, self.written);
            self.written += 1;
        }
        let more = self.written < self.views.len();
        if !more {
            Self::end(to);
        }
        more
    }

    fn bytes(&self) -> Option<usize> {
        let texts = self.texts.iter().map(|text| text.as_ref().map(|text| text.len()));
        let texts: usize = texts.sum::<Option<usize>>()?;
        let mut around = Xml::default();
        self.begin(&mut around);
        for index in 0..self.views.len() {
            self.before(&mut around, index);
            self.behind(&mut around, index);
        }
        Self::end(&mut around);
        Some(texts + around.len())
    }
}
