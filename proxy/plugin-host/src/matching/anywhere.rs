//! Many texts, one of which may stand anywhere in a text.

use aho_corasick::automaton::Automaton;
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, BuildError, MatchKind, dfa::DFA};

use super::pace::{OverBudget, Pace, Watch};

/// Together, bytes: a table of so many states is small, and quicker.
const SMALL: usize = 8 << 10;
/// Steps before the first look at the budget.
const SLICE: usize = 16 << 10;

/// Finds all of them in one pass over the text (Aho and Corasick).
#[derive(Debug)]
pub(super) struct Anywhere {
    automaton: Automata,
    /// By pattern of the automaton, ascending.
    indices: Vec<u32>,
}

#[derive(Debug)]
enum Automata {
    Small(DFA),
    Large(NFA),
}

impl Anywhere {
    /// Texts and their index, ascending by index.
    pub(super) fn new(texts: &[(u32, String)]) -> Result<Self, BuildError> {
        let size: usize = texts.iter().map(|(_, text)| text.len()).sum();
        let patterns = texts.iter().map(|(_, text)| text);
        let automaton = if size <= SMALL {
            let mut builder = DFA::builder();
            Automata::Small(builder.match_kind(MatchKind::Standard).prefilter(false).build(patterns)?)
        } else {
            let mut builder = NFA::builder();
            Automata::Large(builder.match_kind(MatchKind::Standard).prefilter(false).build(patterns)?)
        };
        Ok(Self { automaton, indices: texts.iter().map(|(index, _)| *index).collect() })
    }

    /// The smallest index of those that stand in the text.
    pub(super) fn first(&self, text: &str, watch: &dyn Watch) -> Result<Option<u32>, OverBudget> {
        let first = match &self.automaton {
            Automata::Small(automaton) => first(automaton, text, watch)?,
            Automata::Large(automaton) => first(automaton, text, watch)?,
        };
        Ok(first.map(|pattern| self.indices[pattern]))
    }
}

fn first(automaton: &impl Automaton, text: &str, watch: &dyn Watch) -> Result<Option<usize>, OverBudget> {
    let mut pace = Pace::new(watch, SLICE);
    let mut first = usize::MAX;
    // Both kinds are built for searches that are not anchored.
    let Ok(mut state) = automaton.start_state(Anchored::No) else { return Ok(None) };
    let mut bytes = text.bytes();
    loop {
        if automaton.is_special(state) && automaton.is_match(state) {
            let ending_here = automaton.match_len(state);
            pace.step(ending_here)?;
            for at in 0..ending_here {
                first = first.min(automaton.match_pattern(state, at).as_usize());
            }
            if first == 0 {
                break;
            }
        }
        let Some(byte) = bytes.next() else { break };
        pace.step(1)?;
        state = automaton.next_state(Anchored::No, state, byte);
    }
    Ok((first < usize::MAX).then_some(first))
}
