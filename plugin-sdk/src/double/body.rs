//! Bodies that lie in the test itself.

use std::cell::RefCell;

use crate::bindings::imports::tidegate::policy::body::Found;
use crate::body::{position, to_usize};
use crate::double::http::EditError;
use crate::double::matching::{self, Matcher};

/// Has the methods of the bindings' `Body`.
pub(crate) struct Body(pub(crate) RefCell<BodyFacts>);

/// What a test says about a body or a piece of one, and what a policy did to it.
#[derive(Debug)]
pub(crate) struct BodyFacts {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_last: bool,
    pub(crate) hold: u32,
}

impl Body {
    pub(crate) fn len(&self) -> u32 {
        position(self.0.borrow().bytes.len())
    }

    pub(crate) fn is_last(&self) -> bool {
        self.0.borrow().is_last
    }

    pub(crate) fn read(&self, offset: u32, max: u32) -> Vec<u8> {
        let bytes = &self.0.borrow().bytes;
        let rest = bytes.get(to_usize(offset)..).unwrap_or_default();
        rest[..to_usize(max).min(rest.len())].to_vec()
    }

    pub(crate) fn find(&self, needle: &[u8], offset: u32) -> Option<u32> {
        let offset = to_usize(offset);
        let bytes = &self.0.borrow().bytes;
        let rest = bytes.get(offset..)?;
        let mut places = 0..=rest.len().checked_sub(needle.len())?;
        places.find(|&at| rest[at..].starts_with(needle)).map(|at| position(offset + at))
    }

    pub(crate) fn find_pattern(&self, patterns: Matcher, offset: u32) -> Option<Found> {
        let found = matching::find_pattern(patterns, &self.0.borrow().bytes, to_usize(offset));
        found.map(|(start, end, pattern)| Found { start: position(start), end: position(end), pattern })
    }

    pub(crate) fn replace(&self, bytes: &[u8]) -> Result<(), EditError> {
        self.0.borrow_mut().bytes = bytes.to_vec();
        Ok(())
    }

    pub(crate) fn replace_range(&self, offset: u32, length: u32, bytes: &[u8]) -> Result<(), EditError> {
        let facts = &mut *self.0.borrow_mut();
        let (start, length) = (to_usize(offset), to_usize(length));
        let end = start.checked_add(length).filter(|end| *end <= facts.bytes.len());
        facts.bytes.splice(start..end.ok_or(EditError::Invalid)?, bytes.iter().copied());
        Ok(())
    }

    pub(crate) fn hold_back(&self, bytes: u32) {
        self.0.borrow_mut().hold = bytes;
    }
}
