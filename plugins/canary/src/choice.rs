//! Weights, and which destination a number stands for.

use tidegate_plugin_sdk::prelude::*;

use crate::Destination;

/// More than anyone deploys at a time, and an index fits into the token.
const MAX_DESTINATIONS: usize = 64;

/// Names and weights; the first is the stable destination.
#[derive(Debug)]
pub(crate) struct Weights {
    names: Vec<String>,
    weights: Vec<u64>,
}

impl Weights {
    pub(crate) fn new(destinations: &[Destination]) -> Result<Self, Error> {
        if destinations.len() < 2 || destinations.len() > MAX_DESTINATIONS {
            let reason = format!(
                "has {} entries; there are 2 to {MAX_DESTINATIONS} to choose from",
                destinations.len()
            );
            return Err(Error::at("destinations", reason));
        }
        for (index, Destination { to, weight }) in destinations.iter().enumerate() {
            let at = |key: &str, reason: String| Error::at(format!("destinations[{index}].{key}"), reason);
            if to.is_empty() {
                return Err(at("to", "names no upstream or file root".to_owned()));
            }
            if destinations[..index].iter().any(|other| other.to == *to) {
                return Err(at("to", format!("`{to}` stands there already; add the weights")));
            }
            if *weight > 1_000_000 {
                return Err(at("weight", format!("{weight} is over 1000000")));
            }
        }
        let weights: Vec<u64> = destinations.iter().map(|destination| destination.weight.into()).collect();
        if weights.iter().sum::<u64>() == 0 {
            return Err(Error::at("destinations", "all weights are 0: nothing would go anywhere"));
        }
        Ok(Self { names: destinations.iter().map(|destination| destination.to.clone()).collect(), weights })
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    pub(crate) fn name(&self, destination: usize) -> &str {
        &self.names[destination]
    }

    pub(crate) fn index_of(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// Whether it has a share at all.
    pub(crate) fn is_served(&self, destination: usize) -> bool {
        self.weights[destination] > 0
    }

    /// The destination of one of 2⁶⁴ numbers, of which each gets its share exactly, up to one part in 2³⁸.
    ///
    /// The stable one has the end of the row: a canary whose weight grows at its cost keeps the numbers it has.
    pub(crate) fn at(&self, number: u64) -> usize {
        let sum: u64 = self.weights.iter().sum();
        // Not the remainder: then every number would move when the sum does.
        let mut point = ((u128::from(number) * u128::from(sum)) >> 64) as u64;
        for (index, weight) in self.weights.iter().enumerate().skip(1) {
            match point.checked_sub(*weight) {
                Some(rest) => point = rest,
                None => return index,
            }
        }
        0
    }
}

/// What was chosen for an exchange, kept in its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) destination: usize,
    /// By a tester, who wants to see what comes of it.
    pub(crate) is_forced: bool,
    /// The client does not know yet.
    pub(crate) is_new: bool,
}

impl Chosen {
    /// Not what was thrown, so the client is told nothing.
    pub(crate) const STABLE: Self = Self { destination: 0, is_forced: false, is_new: false };

    /// Never 0, which is a token at first.
    pub(crate) fn token(self) -> u64 {
        u64::from(self.is_new) << 9 | u64::from(self.is_forced) << 8 | (self.destination as u64 + 1)
    }

    pub(crate) fn of(token: u64) -> Option<Self> {
        let destination = (token & 0xff).checked_sub(1)? as usize;
        Some(Self { destination, is_forced: token & 1 << 8 != 0, is_new: token & 1 << 9 != 0 })
    }
}
