//! The exchange between the calls about it.

use std::ops::{Deref, DerefMut};

use crate::exchange::Exchange;
use crate::instance::Instance;

/// Holds an exchange, and the instances that plugins with `isolation = "request"` have for it.
///
/// A call takes the exchange into an instance and puts it back, so a slot whose call was given up is empty, and of
/// no use any more: it is dropped with the caller that gave up. Dropping it releases the instances; most are released
/// before, when no phase is to come that needs them.
#[derive(Debug)]
pub struct Slot {
    /// `None` during a call, and after one that was given up.
    exchange: Option<Box<Exchange>>,
    /// By plugin.
    kept: Vec<(u64, Box<Instance>)>,
}

impl Slot {
    /// With the exchange in it.
    pub fn new(exchange: Box<Exchange>) -> Self {
        Self { exchange: Some(exchange), kept: Vec::new() }
    }

    /// What a call takes the exchange from, and puts it back into.
    pub(crate) fn exchange_mut(&mut self) -> &mut Option<Box<Exchange>> {
        &mut self.exchange
    }

    /// Lets go of the instances, whatever the plugins asked for: nothing is to come that they are needed for. A log
    /// phase gets a fresh one. To be called before what may last, a download or a tunnel, when no filter of a body can
    /// call them any more.
    pub fn release_instances(&mut self) {
        self.kept.clear();
    }

    pub(crate) fn take_instance(&mut self, plugin: u64) -> Option<Box<Instance>> {
        let at = self.kept.iter().position(|(of, _)| *of == plugin)?;
        Some(self.kept.swap_remove(at).1)
    }

    pub(crate) fn keep_instance(&mut self, plugin: u64, instance: Box<Instance>) {
        self.kept.push((plugin, instance));
    }
}

impl Deref for Slot {
    type Target = Exchange;

    fn deref(&self) -> &Exchange {
        self.exchange.as_deref().expect("the slot is looked into between calls")
    }
}

impl DerefMut for Slot {
    fn deref_mut(&mut self) -> &mut Exchange {
        self.exchange.as_deref_mut().expect("the slot is looked into between calls")
    }
}
