//! Whose turn it is.

use std::cell::RefCell;

/// Smooth weighted round-robin, as nginx does it: with weights 5, 1, 1 the turns are a a b a c a a, not
/// five times a in a row.
#[derive(Debug)]
pub(crate) struct RoundRobin {
    turns: RefCell<Vec<Turn>>,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    weight: i64,
    current: i64,
}

impl RoundRobin {
    /// `skip` turns are taken at once.
    pub(crate) fn new(weights: impl Iterator<Item = u32>, skip: usize) -> Self {
        let turns = weights.map(|weight| Turn { weight: weight.into(), current: 0 }).collect();
        let this = Self { turns: RefCell::new(turns) };
        for _ in 0..skip {
            this.next(|_| true);
        }
        this
    }

    /// The index of the next server among those that `usable` accepts.
    pub(crate) fn next(&self, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let mut turns = self.turns.borrow_mut();
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for (index, turn) in turns.iter_mut().enumerate().filter(|(index, _)| usable(*index)) {
            turn.current += turn.weight;
            total += turn.weight;
            if best.is_none_or(|(_, current)| turn.current > current) {
                best = Some((index, turn.current));
            }
        }
        let (index, _) = best?;
        turns[index].current -= total;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::RoundRobin;

    #[test]
    fn shares_follow_the_weights_and_turns_are_spread() {
        let robin = RoundRobin::new([5, 1, 1].into_iter(), 0);
        let turns: Vec<_> = (0..7).filter_map(|_| robin.next(|_| true)).collect();
        assert_eq!(turns, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn a_server_that_is_not_usable_is_passed_over() {
        let robin = RoundRobin::new([1, 1].into_iter(), 0);
        let turns: Vec<_> = (0..3).filter_map(|_| robin.next(|index| index == 1)).collect();
        assert_eq!(turns, [1, 1, 1]);
        assert_eq!(robin.next(|_| false), None);
    }

    #[test]
    fn workers_begin_with_different_servers() {
        let first = |worker| RoundRobin::new([1, 1].into_iter(), worker).next(|_| true);
        assert_ne!(first(0), first(1));
    }
}
