//! What a pure policy decided before, so that the same facts lead to the same decision without a call.
//!
//! A policy that called `activation.pure` promised that its verdict and edits depend on nothing but what
//! it reads from the request. While such a policy runs, every question it puts to the host is noted with
//! the answer. The calls seen so far make a tree: a question at each node, an edge for each answer, the
//! verdict at the leaves. A later exchange walks it: the host puts the questions to itself, makes the
//! edits it passes, and has the verdict without entering the plugin. A path that is not in the tree
//! leads to a call, which adds it.
//!
//! Edits are questions too, since a policy may act on their outcome. What is not listed in [`Question`]
//! (texts of any value, clocks, log lines, responses) makes a call unfit to be remembered, and a phase that
//! sees a body is never remembered.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::uri::PathAndQuery;

use crate::bindings::tidegate::policy::http::{EditError, RouteError};
use crate::bodies::{BodyMode, Side};
use crate::edit::{Editor, Journal};
use crate::exchange::Exchange;
use crate::limits::Allowance;
use crate::matching::{Matchers, OverBudget, Unanswered, Watch};
use crate::phase::{Phase, Verdict};
use crate::settings::Shared;

/// Nodes of one policy on one worker: some hundred texts, each followed by a handful of questions. A hundred
/// bytes or two each. At the limit the memo begins anew; what is asked for often is soon in it again.
const MAX_NODES: usize = 4096;
/// Questions of one call; more are cheaper to ask than to remember.
const MAX_QUESTIONS: usize = 64;
/// Longest text that is kept as an answer, bytes: a host name has at most 253, and a path that is longer is
/// hardly one that many ask for.
const MAX_TEXT: usize = 260;

/// Something a policy asked the host, or did through it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    MatchPath(u32),
    MatchHeader(u32, Side, Box<str>),
    HasClient(u32),
    Method,
    MethodIs(Box<str>),
    Scheme,
    Authority,
    Path,
    NormalizedPath,
    Query,
    Header(Box<str>),
    HeaderCount(Side, Box<str>),
    Status,
    SetHeader(Side, HeaderName, HeaderValue),
    AppendHeader(Side, HeaderName, HeaderValue),
    RemoveHeader(Side, HeaderName),
    SetTarget(PathAndQuery),
    RouteTo(Box<str>),
    SetBodyMode(Side, BodyMode),
    DecodeBody(Side),
    Token,
    SetToken(u64),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    Index(Option<u32>),
    Is(bool),
    Count(u32),
    Text(Cow<'a, str>),
    /// There is no such text.
    NoText,
    Token(u64),
    Edited(Result<u32, EditError>),
    Routed(Result<(), RouteError>),
}

impl<'a> Answer<'a> {
    pub(crate) fn of_text(text: Option<&'a str>) -> Self {
        text.map_or(Self::NoText, |text| Self::Text(text.into()))
    }
}

impl Answer<'_> {
    pub(crate) fn into_owned(self) -> Answer<'static> {
        match self {
            Self::Index(index) => Answer::Index(index),
            Self::Is(is) => Answer::Is(is),
            Self::Count(count) => Answer::Count(count),
            Self::Text(text) => Answer::Text(text.into_owned().into()),
            Self::NoText => Answer::NoText,
            Self::Token(token) => Answer::Token(token),
            Self::Edited(edited) => Answer::Edited(edited),
            Self::Routed(routed) => Answer::Routed(routed),
        }
    }
}

impl Question {
    /// Puts the question to the host. An edit is made, and noted in the editor's journal.
    ///
    /// # Errors
    ///
    /// Only for matches.
    pub(crate) fn ask<'e>(
        &self,
        editor: &'e mut Editor<'_>,
        matchers: &Matchers,
        watch: &dyn Watch,
    ) -> Result<Answer<'e>, Unanswered> {
        let exchange = &*editor.exchange;
        Ok(match self {
            Self::MatchPath(patterns) => Answer::Index(match_path(matchers, *patterns, exchange, watch)?),
            Self::MatchHeader(patterns, side, name) => {
                Answer::Index(match_header(matchers, *patterns, exchange, *side, name, watch)?)
            }
            Self::HasClient(set) => Answer::Is(has_client(matchers, *set, exchange)?),
            Self::Method => Answer::Text(editor.exchange.request.method.as_str().into()),
            Self::MethodIs(method) => Answer::Is(exchange.request.method.as_str() == &**method),
            Self::Scheme => Answer::Text(exchange.request.scheme.into()),
            Self::Authority => Answer::Text(editor.exchange.request.authority.as_str().into()),
            Self::Path => Answer::Text(editor.exchange.request.path().into()),
            Self::NormalizedPath => Answer::Text(editor.exchange.request.normalized_path().into()),
            Self::Query => Answer::of_text(editor.exchange.request.target().query()),
            Self::Header(name) => Answer::of_text(header(editor.exchange, name)),
            Self::HeaderCount(side, name) => Answer::Count(header_count(exchange, *side, name)),
            Self::Status => {
                let response = exchange.response.as_ref();
                Answer::Count(response.map_or(0, |response| response.status.as_u16().into()))
            }
            Self::SetHeader(side, name, value) => {
                Answer::Edited(editor.set_field(*side, name.clone(), value.clone()).map(|()| 0))
            }
            Self::AppendHeader(side, name, value) => {
                Answer::Edited(editor.append_field(*side, name.clone(), value.clone()).map(|()| 0))
            }
            Self::RemoveHeader(side, name) => Answer::Edited(editor.remove_field(*side, name)),
            Self::SetTarget(target) => Answer::Edited(editor.set_parsed_target(target.clone()).map(|()| 0)),
            Self::RouteTo(name) => Answer::Routed(editor.route_to(name)),
            Self::SetBodyMode(side, mode) => {
                editor.set_body_mode(*side, *mode);
                Answer::Is(true)
            }
            Self::DecodeBody(side) => Answer::Is(editor.decode_body(*side)),
            Self::Token => Answer::Token(exchange.token(editor.plugin)),
            Self::SetToken(token) => {
                editor.set_token(*token);
                Answer::Is(true)
            }
        })
    }
}

pub(crate) fn match_path(
    matchers: &Matchers,
    patterns: u32,
    exchange: &Exchange,
    watch: &dyn Watch,
) -> Result<Option<u32>, Unanswered> {
    Ok(matchers.path_patterns(patterns)?.first_match(exchange.request.normalized_path(), watch)?)
}

pub(crate) fn match_header(
    matchers: &Matchers,
    patterns: u32,
    exchange: &Exchange,
    side: Side,
    name: &str,
    watch: &dyn Watch,
) -> Result<Option<u32>, Unanswered> {
    let patterns = matchers.patterns(patterns)?;
    let mut first = None::<u32>;
    // Bytes that are not UTF-8 must not hide the rest of a value from a pattern.
    let mut match_value = |value: &[u8]| -> Result<(), OverBudget> {
        let found = patterns.first_match(&String::from_utf8_lossy(value), watch)?;
        first = [first, found].into_iter().flatten().min();
        Ok(())
    };
    match side {
        Side::Request => exchange.request.values(name).try_for_each(&mut match_value)?,
        Side::Response => {
            let mut values = exchange.response.iter().flat_map(|response| response.headers.get_all(name));
            values.try_for_each(|value| match_value(value.as_bytes()))?;
        }
    }
    Ok(first)
}

pub(crate) fn has_client(matchers: &Matchers, set: u32, exchange: &Exchange) -> Result<bool, Unanswered> {
    Ok(matchers.ips(set)?.has(exchange.client))
}

/// The first value of a field of the request, if it is text.
pub(crate) fn header<'e>(exchange: &'e Exchange, name: &str) -> Option<&'e str> {
    exchange.request.values(name).next().and_then(|value| str::from_utf8(value).ok())
}

pub(crate) fn header_count(exchange: &Exchange, side: Side, name: &str) -> u32 {
    let count = match (side, &exchange.response) {
        (Side::Request, _) => exchange.request.values(name).count(),
        (Side::Response, Some(response)) => response.headers.get_all(name).iter().count(),
        (Side::Response, None) => 0,
    };
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Notes the questions of one call.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    /// The call is of a pure plugin.
    recording: bool,
    /// Something was asked or done that cannot be remembered. A cell, since reading does not change
    /// the store.
    unfit: Cell<bool>,
    questions: RefCell<Vec<(Question, Answer<'static>)>>,
}

impl Recorder {
    pub(crate) fn begin(&mut self, recording: bool) {
        self.recording = recording;
        self.unfit.set(false);
        self.questions.get_mut().clear();
    }

    pub(crate) fn is_recording(&self) -> bool {
        self.recording && !self.unfit.get()
    }

    /// The call does something that cannot be remembered.
    pub(crate) fn give_up(&self) {
        self.unfit.set(true);
    }

    pub(crate) fn note(&self, question: impl FnOnce() -> Question, answer: &Answer<'_>) {
        if !self.is_recording() {
            return;
        }
        let mut questions = self.questions.borrow_mut();
        let too_long = matches!(answer, Answer::Text(text) if text.len() > MAX_TEXT);
        if too_long || questions.len() == MAX_QUESTIONS {
            return self.give_up();
        }
        questions.push((question(), answer.clone().into_owned()));
    }

    fn take(&mut self) -> Option<Vec<(Question, Answer<'static>)>> {
        (self.recording && !self.unfit.get()).then(|| std::mem::take(self.questions.get_mut()))
    }
}

/// The decisions of one pure policy on one worker.
pub(crate) struct Memo {
    plugin: Arc<Shared>,
    matchers: Arc<Matchers>,
    trees: RefCell<Trees>,
    /// Of the walk in progress.
    journal: RefCell<Journal>,
}

#[derive(Debug, Default)]
struct Trees {
    nodes: Vec<Node>,
    /// Of the request and of the response phase.
    roots: [Option<usize>; 2],
}

#[derive(Debug)]
enum Node {
    Ask(Question, Edges),
    Decided(Verdict),
}

/// Where each answer leads.
#[derive(Debug, Default)]
struct Edges {
    /// Sorted: there may be hundreds.
    texts: Vec<(Box<str>, usize)>,
    others: Vec<(Answer<'static>, usize)>,
}

impl Edges {
    fn follow(&self, answer: &Answer<'_>) -> Option<usize> {
        match answer {
            Answer::Text(text) => self.find(text).ok().map(|at| self.texts[at].1),
            other => self.others.iter().find(|(known, _)| known == other).map(|(_, next)| *next),
        }
    }

    fn add(&mut self, answer: Answer<'static>, next: usize) {
        match answer {
            Answer::Text(text) => {
                if let Err(at) = self.find(&text) {
                    self.texts.insert(at, (text.into(), next));
                }
            }
            other => self.others.push((other, next)),
        }
    }

    /// The length is compared first: it nearly always decides.
    fn find(&self, text: &str) -> Result<usize, usize> {
        self.texts.binary_search_by(|(known, _)| (known.len(), &**known).cmp(&(text.len(), text)))
    }
}

impl Memo {
    pub(crate) fn new(plugin: Arc<Shared>, matchers: Arc<Matchers>) -> Self {
        Self { plugin, matchers, trees: RefCell::default(), journal: RefCell::default() }
    }

    /// The verdict of an earlier call that learnt the same facts, its edits made. Without one the
    /// exchange is as before.
    pub(crate) fn recall(&self, phase: Phase, exchange: &mut Exchange) -> Option<Verdict> {
        let trees = self.trees.borrow();
        let mut at = trees.roots[root(phase)?]?;
        let mut journal = self.journal.borrow_mut();
        let allowance = Allowance::new(self.plugin.limits.cpu);
        loop {
            match &trees.nodes[at] {
                Node::Decided(verdict) => {
                    journal.commit();
                    return Some(*verdict);
                }
                Node::Ask(question, edges) => {
                    let mut editor = Editor {
                        exchange,
                        journal: &mut journal,
                        phase,
                        plugin: self.plugin.id,
                        routes: self.plugin.routes.as_deref(),
                    };
                    // What takes too long will do so for the plugin as well, and then has the name that it should.
                    let answer = question.ask(&mut editor, &self.matchers, &allowance).ok();
                    match answer.and_then(|answer| edges.follow(&answer)) {
                        Some(next) => at = next,
                        None => {
                            journal.revert(self.plugin.id, exchange);
                            return None;
                        }
                    }
                }
            }
        }
    }

    /// Remembers a call that ended with a verdict, if it is fit for that.
    pub(crate) fn learn(&self, phase: Phase, recorder: &mut Recorder, verdict: Verdict) {
        let (Some(root), Some(questions)) = (root(phase), recorder.take()) else { return };
        // A response of the policy's own is not among what is noted, and a failure is no decision.
        if !matches!(verdict, Verdict::Next | Verdict::Finish) {
            return;
        }
        let mut trees = self.trees.borrow_mut();
        if trees.nodes.len() + questions.len() >= MAX_NODES {
            *trees = Trees::default();
        }
        trees.insert(root, questions, verdict);
    }
}

impl Trees {
    fn insert(&mut self, root: usize, questions: Vec<(Question, Answer<'static>)>, verdict: Verdict) {
        let mut from: Option<(usize, Answer<'static>)> = None;
        for (question, answer) in questions {
            let known = self.next(root, from.as_ref());
            let at = match known {
                Some(at) => match &self.nodes[at] {
                    Node::Ask(asked, _) if *asked == question => at,
                    // The same facts led to another question: the policy is not pure after all. What
                    // was learnt first stays, as it does for a call that is not made.
                    Node::Ask(..) | Node::Decided(_) => return,
                },
                None => self.add(root, from.take(), Node::Ask(question, Edges::default())),
            };
            from = Some((at, answer));
        }
        if self.next(root, from.as_ref()).is_none() {
            self.add(root, from, Node::Decided(verdict));
        }
    }

    fn next(&self, root: usize, from: Option<&(usize, Answer<'static>)>) -> Option<usize> {
        match from {
            None => self.roots[root],
            Some((node, answer)) => match &self.nodes[*node] {
                Node::Ask(_, edges) => edges.follow(answer),
                Node::Decided(_) => None,
            },
        }
    }

    fn add(&mut self, root: usize, from: Option<(usize, Answer<'static>)>, node: Node) -> usize {
        let new = self.nodes.len();
        self.nodes.push(node);
        match from {
            None => self.roots[root] = Some(new),
            Some((node, answer)) => {
                if let Node::Ask(_, edges) = &mut self.nodes[node] {
                    edges.add(answer, new);
                }
            }
        }
        new
    }
}

fn root(phase: Phase) -> Option<usize> {
    match phase {
        Phase::Request => Some(0),
        Phase::Response => Some(1),
        Phase::RequestBody
        | Phase::RequestChunk
        | Phase::ResponseBody
        | Phase::ResponseChunk
        | Phase::Log => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Host;
    use crate::exchange::tests::exchange;
    use crate::matching::{Definition, Kind, Unwatched};
    use crate::settings::{Isolation, Settings};

    /// Stands in for a pure policy: marks what is below `/old` and sends `/images` where they are.
    struct Policy {
        memo: Memo,
        paths: u32,
        calls: Cell<u32>,
    }

    impl Policy {
        fn new() -> Self {
            let mut matchers = Matchers::default();
            let patterns = ["/old/**", "/images/**"].map(str::to_owned).to_vec();
            let paths = Definition::Patterns { kind: Kind::Glob, patterns, ignore_case: false };
            let paths = matchers.define(paths).expect("valid patterns");
            let settings = Settings {
                name: "test".to_owned(),
                config: String::new(),
                limits: crate::limits::Limits::default(),
                isolation: Isolation::Worker,
                routes: None,
                matching: crate::activation::Match::default(),
            };
            let shared = Host::new().expect("an engine").share(settings);
            Self { memo: Memo::new(shared, Arc::new(matchers)), paths, calls: Cell::new(0) }
        }

        fn decide(&self, exchange: &mut Exchange) -> Verdict {
            if let Some(verdict) = self.memo.recall(Phase::Request, exchange) {
                return verdict;
            }
            self.calls.set(self.calls.get() + 1);
            let mut recorder = Recorder::default();
            recorder.begin(true);
            let mut journal = Journal::default();
            let mut ask = |question: Question| {
                let (plugin, phase) = (self.memo.plugin.id, Phase::Request);
                let mut editor =
                    Editor { exchange: &mut *exchange, journal: &mut journal, phase, plugin, routes: None };
                let answer = question.ask(&mut editor, &self.memo.matchers, &Unwatched);
                let answer = answer.expect("nobody watches").into_owned();
                recorder.note(|| question, &answer);
                answer
            };
            let mark = || HeaderValue::from_static("yes");
            match ask(Question::MatchPath(self.paths)) {
                Answer::Index(Some(0)) => {
                    ask(Question::SetHeader(Side::Request, HeaderName::from_static("x-old"), mark()));
                    let Answer::Text(path) = ask(Question::NormalizedPath) else { unreachable!("a text") };
                    let target = path.replacen("/old", "/new", 1).parse().expect("a target");
                    ask(Question::SetTarget(target));
                }
                Answer::Index(Some(1)) => {
                    ask(Question::Authority);
                    ask(Question::RouteTo("images".into()));
                }
                _ => {}
            }
            self.memo.learn(Phase::Request, &mut recorder, Verdict::Next);
            Verdict::Next
        }
    }

    fn decided(policy: &Policy, host: &str, path: &str) -> (Option<String>, bool) {
        let mut exchange = exchange("GET", host, path);
        assert_eq!(policy.decide(&mut exchange), Verdict::Next);
        (exchange.route.as_deref().map(str::to_owned), exchange.request.headers.contains_key("x-old"))
    }

    #[test]
    fn the_same_facts_lead_to_the_same_decision_without_a_call() {
        let policy = Policy::new();
        for _ in 0..3 {
            assert_eq!(decided(&policy, "a", "/old/1"), (None, true));
            assert_eq!(decided(&policy, "a", "/images/1"), (Some("images".to_owned()), false));
            assert_eq!(decided(&policy, "a", "/"), (None, false));
        }
        assert_eq!(policy.calls.get(), 3);
        assert_eq!(decided(&policy, "b", "/images/2"), (Some("images".to_owned()), false));
        assert_eq!(policy.calls.get(), 4, "another host is another fact");
    }

    #[test]
    fn a_policy_that_reads_the_path_is_remembered_for_each_path() {
        let policy = Policy::new();
        for path in ["/old/1", "/old/22", "/old/2", "/old/1", "/old/2", "/old/22"] {
            let mut exchange = exchange("GET", "a", path);
            policy.decide(&mut exchange);
            assert_eq!(exchange.request.path(), path.replace("old", "new"));
        }
        assert_eq!(policy.calls.get(), 3);
    }

    #[test]
    fn an_edit_with_another_outcome_is_undone_and_leads_to_a_call() {
        let policy = Policy::new();
        assert_eq!(decided(&policy, "a", "/old/1"), (None, true));
        let mut full = exchange("GET", "a", "/old/1");
        full.limits.request_header_count = 0;
        assert_eq!(policy.memo.recall(Phase::Request, &mut full), None);
        assert!(full.request.headers.is_empty());
    }

    #[test]
    fn what_cannot_be_remembered_is_not() {
        let policy = Policy::new();
        let mut recorder = Recorder::default();
        recorder.begin(true);
        recorder.note(|| Question::Scheme, &Answer::Text("http".into()));
        recorder.give_up();
        policy.memo.learn(Phase::Request, &mut recorder, Verdict::Next);
        assert_eq!(policy.memo.recall(Phase::Request, &mut exchange("GET", "a", "/")), None);
    }

    #[test]
    fn a_client_that_varies_its_host_does_not_grow_the_memo_for_ever() {
        let policy = Policy::new();
        for host in 0..3 * MAX_NODES {
            decided(&policy, &format!("h{host}"), "/images/1");
        }
        assert!(policy.memo.trees.borrow().nodes.len() < MAX_NODES);
        assert_eq!(decided(&policy, "a", "/images/1"), (Some("images".to_owned()), false));
    }
}
