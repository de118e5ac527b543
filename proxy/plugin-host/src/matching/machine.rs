//! Regular expressions, run step by step so that a look at the budget can stop them.
//!
//! A regex takes time in proportion to text and program, which is linear in both and can still be a minute: `a.{0,2000}b`
//! has thousands of states, in each of which a body may be at each of its bytes. The `regex` crate runs to its end
//! whatever that takes; this does the same with the parts it is made of.

use std::fmt;

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, NFA, State, WhichCaptures};
use regex_automata::util::pool::Pool;
use regex_automata::util::primitives::StateID;
use regex_automata::util::{start, syntax};
use regex_automata::{Input, MatchKind};

use super::pace::{OverBudget, Pace, Watch};

/// States that may be visited before the first look at the budget.
const SLICE: usize = 1 << 15;

/// Several regexes that are searched for at once.
pub(super) struct Machine {
    nfa: NFA,
    dfa: Option<DFA>,
    /// One of each for every thread that asks.
    memories: Pool<Memory, Box<dyn Fn() -> Memory + Send + Sync>>,
    /// What a new one needs.
    cache_size: usize,
}

struct Memory {
    cache: Option<Cache>,
    now: States,
    next: States,
    pending: Vec<StateID>,
}

impl Machine {
    /// `size` bounds the program, `cache_size` what each thread remembers of its runs, both in bytes. An error does not
    /// say which regex is at fault.
    pub(super) fn new(
        sources: impl Iterator<Item = String>,
        ignore_case: bool,
        size: usize,
        cache_size: usize,
    ) -> Result<Self, String> {
        let syntax = syntax::Config::new().case_insensitive(ignore_case);
        let parsed =
            sources.map(|source| syntax::parse_with(&source, &syntax).map_err(|error| error.to_string()));
        let parsed = parsed.collect::<Result<Vec<_>, _>>()?;
        let config = thompson::Config::new().which_captures(WhichCaptures::None).nfa_size_limit(Some(size));
        let nfa = NFA::compiler().configure(config).build_many_from_hir(&parsed);
        Ok(Self::of(nfa.map_err(|error| error.to_string())?, cache_size))
    }

    fn of(nfa: NFA, cache_size: usize) -> Self {
        let config = DFA::config()
            .match_kind(MatchKind::All)
            .cache_capacity(cache_size)
            .skip_cache_capacity_check(true)
            // Right for ASCII; at other bytes it stops, and `simulate` begins anew.
            .unicode_word_boundary(true);
        let dfa = DFA::builder().configure(config).build_from_nfa(nfa.clone()).ok();
        let (states, of_dfa) = (nfa.states().len(), dfa.clone());
        let memory = move || Memory {
            cache: of_dfa.as_ref().map(DFA::create_cache),
            now: States::new(states),
            next: States::new(states),
            pending: Vec::new(),
        };
        Self { nfa, dfa, memories: Pool::new(Box::new(memory)), cache_size }
    }

    /// How large the program is: each byte of a text costs up to so much.
    pub(super) fn states(&self) -> usize {
        self.nfa.states().len()
    }

    /// The first of the regexes that match the text.
    pub(super) fn first(&self, text: &str, watch: &dyn Watch) -> Result<Option<usize>, OverBudget> {
        let mut memory = self.memories.get();
        let memory = &mut *memory;
        let mut pace = Pace::new(watch, SLICE / self.states());
        if let (Some(dfa), Some(cache)) = (&self.dfa, &mut memory.cache)
            && let Ok(first) = run(dfa, cache, text.as_bytes(), &mut pace)?
        {
            return Ok(first);
        }
        let pace = Pace::new(watch, SLICE);
        Simulation { nfa: &self.nfa, text: text.as_bytes(), pace }.run(memory)
    }
}

/// The machine cannot be run on this text.
struct Unfit;

/// Each byte leads from one state of a table to another; states that are not in the table yet are added, which is
/// what takes time.
fn run(
    dfa: &DFA,
    cache: &mut Cache,
    text: &[u8],
    pace: &mut Pace<'_>,
) -> Result<Result<Option<usize>, Unfit>, OverBudget> {
    let begin = start::Config::from_input_forward(&Input::new(text));
    let Ok(mut state) = dfa.start_state(cache, &begin) else { return Ok(Err(Unfit)) };
    let mut first = usize::MAX;
    let mut bytes = text.iter();
    loop {
        let byte = bytes.next();
        let next = match byte {
            Some(byte) => dfa.next_state(cache, state, *byte),
            None => dfa.next_eoi_state(cache, state),
        };
        let Ok(next) = next else { return Ok(Err(Unfit)) };
        state = next;
        pace.step(1)?;
        if state.is_tagged() {
            if state.is_match() {
                let matching = dfa.match_len(cache, state);
                pace.step(matching)?;
                for at in 0..matching {
                    first = first.min(dfa.match_pattern(cache, state, at).as_usize());
                }
                if first == 0 {
                    break;
                }
            } else if state.is_quit() {
                return Ok(Err(Unfit));
            } else if state.is_dead() {
                break;
            }
        }
        if byte.is_none() {
            break;
        }
    }
    Ok(Ok((first < usize::MAX).then_some(first)))
}

/// Goes through all states at each byte: for what a table cannot do, Unicode word boundaries beside letters that are
/// not ASCII.
struct Simulation<'a> {
    nfa: &'a NFA,
    text: &'a [u8],
    pace: Pace<'a>,
}

impl Simulation<'_> {
    fn run(mut self, memory: &mut Memory) -> Result<Option<usize>, OverBudget> {
        let Memory { now, next, pending, .. } = memory;
        let mut first = usize::MAX;
        now.clear();
        self.reach(now, pending, self.nfa.start_unanchored(), 0)?;
        for at in 0..=self.text.len() {
            next.clear();
            for index in 0..now.list.len() {
                let to = match (self.nfa.state(now.list[index]), self.text.get(at)) {
                    (State::Match { pattern_id }, _) => {
                        first = first.min(pattern_id.as_usize());
                        None
                    }
                    (State::ByteRange { trans }, Some(byte)) => {
                        trans.matches_byte(*byte).then_some(trans.next)
                    }
                    (State::Sparse(transitions), Some(byte)) => transitions.matches_byte(*byte),
                    (State::Dense(transitions), Some(byte)) => transitions.matches_byte(*byte),
                    _ => None,
                };
                if let Some(to) = to {
                    self.reach(next, pending, to, at + 1)?;
                }
            }
            self.pace.step(now.list.len() + 1)?;
            if first == 0 || next.list.is_empty() {
                break;
            }
            std::mem::swap(now, next);
        }
        Ok((first < usize::MAX).then_some(first))
    }

    /// Adds the state, and all that it leads to without a byte.
    fn reach(
        &mut self,
        states: &mut States,
        pending: &mut Vec<StateID>,
        from: StateID,
        at: usize,
    ) -> Result<(), OverBudget> {
        pending.clear();
        pending.push(from);
        while let Some(id) = pending.pop() {
            if !states.insert(id) {
                continue;
            }
            match self.nfa.state(id) {
                State::Look { look, next } => {
                    if self.nfa.look_matcher().matches(*look, self.text, at) {
                        pending.push(*next);
                    }
                }
                State::Union { alternates } => {
                    self.pace.step(alternates.len())?;
                    pending.extend_from_slice(alternates);
                }
                State::BinaryUnion { alt1, alt2 } => pending.extend([*alt1, *alt2]),
                State::Capture { next, .. } => pending.push(*next),
                State::ByteRange { .. }
                | State::Sparse(_)
                | State::Dense(_)
                | State::Fail
                | State::Match { .. } => {}
            }
        }
        Ok(())
    }
}

/// A set that is cleared at once.
struct States {
    list: Vec<StateID>,
    /// By state, in which round it was inserted.
    inserted: Vec<u64>,
    round: u64,
}

impl States {
    fn new(number: usize) -> Self {
        Self { list: Vec::new(), inserted: vec![0; number], round: 0 }
    }

    fn clear(&mut self) {
        self.list.clear();
        self.round += 1;
    }

    /// False if it was there.
    fn insert(&mut self, id: StateID) -> bool {
        let inserted = &mut self.inserted[id.as_usize()];
        let is_new = *inserted != self.round;
        if is_new {
            *inserted = self.round;
            self.list.push(id);
        }
        is_new
    }
}

/// Cheap, and gives the clone memories of its own.
impl Clone for Machine {
    fn clone(&self) -> Self {
        Self::of(self.nfa.clone(), self.cache_size)
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("states", &self.states()).finish_non_exhaustive()
    }
}
