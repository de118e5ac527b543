//! Bodies that lie in the test itself.

use std::cell::RefCell;

use crate::bindings::imports::tidegate::policy::body::Found;
use crate::double::http::EditError;
use crate::double::matching::{self, Matcher};

/// Has the methods of the bindings' `Body`.
pub(crate) struct Body(pub(crate) RefCell<BodyFacts>);

/// What a test says about a body or a piece of one, and what a policy did to it.
#[derive(Debug)]
pub(crate) struct BodyFacts {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_last: bool,
    pub(crate) hold: u64,
}

impl Body {
    pub(crate) fn len(&self) -> u64 {
        self.0.borrow().bytes.len() as u64
    }

    pub(crate) fn is_last(&self) -> bool {
        self.0.borrow().is_last
    }

    pub(crate) fn read(&self, offset: u64, max: u32) -> Vec<u8> {
        let bytes = &self.0.borrow().bytes;
        let rest = bytes.get(clamp(offset)..).unwrap_or_default();
        rest[..clamp(max.into()).min(rest.len())].to_vec()
    }

    pub(crate) fn find(&self, needle: &[u8], offset: u64) -> Option<u64> {
        let offset = clamp(offset);
        let bytes = &self.0.borrow().bytes;
        let rest = bytes.get(offset..)?;
        let mut places = 0..=rest.len().checked_sub(needle.len())?;
        places.find(|&at| rest[at..].starts_with(needle)).map(|at| (offset + at) as u64)
    }

    pub(crate) fn find_pattern(&self, patterns: Matcher, offset: u64) -> Option<Found> {
        let found = matching::find_pattern(patterns, &self.0.borrow().bytes, clamp(offset));
        found.map(|(start, end, pattern)| Found { start: start as u64, end: end as u64, pattern })
    }

    pub(crate) fn replace(&self, bytes: &[u8]) -> Result<(), EditError> {
        self.0.borrow_mut().bytes = bytes.to_vec();
        Ok(())
    }

    pub(crate) fn replace_range(&self, offset: u64, length: u64, bytes: &[u8]) -> Result<(), EditError> {
        let facts = &mut *self.0.borrow_mut();
        let end = offset.checked_add(length).filter(|end| *end <= facts.bytes.len() as u64);
        let end = end.ok_or(EditError::Invalid)?;
        facts.bytes.splice(clamp(offset)..clamp(end), bytes.iter().copied());
        Ok(())
    }

    pub(crate) fn hold_back(&self, bytes: u64) {
        self.0.borrow_mut().hold = bytes;
    }
}

pub(crate) fn clamp(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
