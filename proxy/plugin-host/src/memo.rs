//! What a pure policy decided before, so that the same facts lead to the same decision without a call.
//!
//! A policy that called `activation.pure` promised that its verdict and edits depend on nothing but what
//! it reads from the request. While such a policy runs, every question it puts to the host is noted with
//! the answer. The calls seen so far make a tree: a question at each node, an edge for each answer, the
//! verdict at the leaves. A later exchange walks it: the host puts the questions to itself, makes the
//! edits it passes, and has the verdict without entering the plugin. A path that is not in the tree
//! leads to a call, which adds it.
//!
//! What is no [`Question`] (clocks, log lines, client addresses) makes a call unfit to be remembered, and a phase that
//! sees a body is never remembered.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::edit::{Editor, Journal};
use crate::exchange::Exchange;
use crate::limits::Allowance;
use crate::matching::Watch;
use crate::observe::{Answer, Asker, Question, Recorder, Subject, Witness};
use crate::phase::{Phase, Verdict};
use crate::services::Defined;
use crate::settings::Shared;

/// Nodes of one policy on one worker: some hundred texts, each followed by a handful of questions. A hundred
/// bytes or two each. At the limit the memo begins anew; what is asked for often is soon in it again.
const MAX_NODES: usize = 4096;

/// The decisions of one pure policy on one worker.
pub(crate) struct Memo {
    plugin: Arc<Shared>,
    defined: Arc<Defined>,
    trees: RefCell<Trees>,
    /// Of the walk in progress.
    journal: RefCell<Journal>,
    /// Decisions that were remembered.
    recalled: Cell<u64>,
}

#[derive(Debug, Default)]
struct Trees {
    nodes: Vec<Node>,
    /// Of the request and of the response phase.
    roots: [Option<usize>; 2],
}

#[derive(Debug)]
enum Node {
    Ask(Question<'static>, Edges),
    Decided(Verdict),
}

/// Where each answer leads.
#[derive(Debug, Default)]
struct Edges {
    /// Sorted: there may be hundreds.
    texts: Vec<(Box<str>, usize)>,
    others: Vec<(Answer, usize)>,
}

impl Edges {
    fn follow(&self, answer: &Answer) -> Option<usize> {
        match answer {
            Answer::Text(text) => self.follow_text(Some(text)),
            other => self.others.iter().find(|(known, _)| known == other).map(|(_, next)| *next),
        }
    }

    fn follow_text(&self, text: Option<&str>) -> Option<usize> {
        match text {
            Some(text) => self.find(text).ok().map(|at| self.texts[at].1),
            None => self.follow(&Answer::NoText),
        }
    }

    /// Where the answer leads that the host gives now. A change is made. What is asked is told the `witness`.
    fn ask(
        &self,
        question: &Question<'_>,
        editor: &mut Editor<'_>,
        asker: Asker<'_>,
        witness: Option<&mut Witness>,
    ) -> Option<usize> {
        let answer = match question {
            Question::Text(text) => {
                let subject = Subject { exchange: editor.exchange, asker };
                let answer = text.ask(&subject);
                if let Some(witness) = witness {
                    witness.tell(question, &Answer::text(answer.as_deref()));
                }
                return self.follow_text(answer.as_deref());
            }
            // What takes too long will do so for the plugin as well, and then has the name that it should.
            Question::Fact(fact) => Answer::Is(fact.ask(&Subject { exchange: editor.exchange, asker }).ok()?),
            Question::Number(number) => {
                Answer::Number(number.ask(&Subject { exchange: editor.exchange, asker }).ok()?)
            }
            Question::Change(change) => Answer::Changed(change.apply(editor)),
            Question::Route(route) => Answer::Routed(editor.route_to(&route.0)),
        };
        if let Some(witness) = witness {
            witness.tell(question, &answer);
        }
        self.follow(&answer)
    }

    fn add(&mut self, answer: Answer, next: usize) {
        match answer {
            Answer::Text(text) => {
                if let Err(at) = self.find(&text) {
                    self.texts.insert(at, (text, next));
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
    pub(crate) fn new(plugin: Arc<Shared>, defined: Arc<Defined>) -> Self {
        Self {
            plugin,
            defined,
            trees: RefCell::default(),
            journal: RefCell::default(),
            recalled: Cell::new(0),
        }
    }

    /// How many decisions were remembered since this was asked last.
    pub(crate) fn take_recalled(&self) -> u64 {
        self.recalled.take()
    }

    /// The verdict of an earlier call that learnt the same facts, its edits made. Without one the
    /// exchange is as before.
    pub(crate) fn recall(&self, phase: Phase, exchange: &mut Exchange) -> Option<Verdict> {
        let trees = self.trees.borrow();
        let mut at = trees.roots[root(phase)?]?;
        let mut journal = self.journal.borrow_mut();
        let allowance = Allowance::new(self.plugin.limits.cpu);
        let mut witness = exchange.witness.take();
        loop {
            match &trees.nodes[at] {
                Node::Decided(verdict) => {
                    journal.commit();
                    self.recalled.set(self.recalled.get() + 1);
                    if let Some(witness) = &mut witness {
                        witness.is_remembered = true;
                    }
                    exchange.witness = witness;
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
                    let watch: &dyn Watch = &allowance;
                    let asker = Asker {
                        plugin: self.plugin.id,
                        routes: editor.routes,
                        matchers: &self.defined.matchers,
                        watch,
                    };
                    match edges.ask(question, &mut editor, asker, witness.as_deref_mut()) {
                        Some(next) => at = next,
                        None => {
                            journal.revert(self.plugin.id, exchange);
                            if let Some(witness) = &mut witness {
                                witness.seen.clear();
                            }
                            exchange.witness = witness;
                            return None;
                        }
                    }
                }
            }
        }
    }

    /// Remembers a call that ended with a verdict, if it is fit for that.
    pub(crate) fn learn(&self, phase: Phase, recorder: &mut Recorder, verdict: Verdict) {
        let Some(root) = root(phase) else { return };
        let questions = match recorder.take() {
            Ok(questions) => questions,
            Err(why) => {
                tracing::debug!(target: "plugin", plugin = %self.plugin.name, "a call cannot be remembered: {why}");
                return;
            }
        };
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
    fn insert(&mut self, root: usize, questions: Vec<(Question<'static>, Answer)>, verdict: Verdict) {
        let mut from: Option<(usize, Answer)> = None;
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

    fn next(&self, root: usize, from: Option<&(usize, Answer)>) -> Option<usize> {
        match from {
            None => self.roots[root],
            Some((node, answer)) => match &self.nodes[*node] {
                Node::Ask(_, edges) => edges.follow(answer),
                Node::Decided(_) => None,
            },
        }
    }

    fn add(&mut self, root: usize, from: Option<(usize, Answer)>, node: Node) -> usize {
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
        | Phase::Log
        | Phase::Timer => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bodies::Side;
    use crate::engine::Host;
    use crate::exchange::tests::exchange;
    use crate::matching::{Definition, Kind, Unwatched};
    use crate::observe::{Call, Change, Number, Route, Text};
    use crate::services::Services;
    use crate::settings::{Isolation, Settings};

    /// Stands in for a pure policy: marks what is below `/old` and sends `/images` where they are.
    struct Policy {
        memo: Memo,
        paths: u32,
        calls: Cell<u32>,
    }

    impl Policy {
        fn new() -> Self {
            let mut matchers = crate::matching::Matchers::default();
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
                secrets: crate::settings::Secrets::default(),
                grants: crate::services::Grants::default(),
            };
            let shared = Host::new(Services::default()).expect("an engine").share(None, settings);
            let defined = Arc::new(Defined { matchers, ..Defined::default() });
            Self { memo: Memo::new(shared, defined), paths, calls: Cell::new(0) }
        }

        fn decide(&self, exchange: Box<Exchange>) -> (Verdict, Box<Exchange>) {
            let mut exchange = exchange;
            if let Some(verdict) = self.memo.recall(Phase::Request, &mut exchange) {
                return (verdict, exchange);
            }
            self.calls.set(self.calls.get() + 1);
            let mut call = Call::default();
            call.begin(Phase::Request, exchange, None, true);
            let watch: &dyn Watch = &Unwatched;
            let asker = Asker {
                plugin: self.memo.plugin.id,
                routes: None,
                matchers: &self.memo.defined.matchers,
                watch,
            };
            match call.number(asker, Number::MatchPath(self.paths)).expect("an answer") {
                Some(0) => {
                    let mark = Change::set_header(Side::Request, "x-old", b"yes".to_vec());
                    let _ = call.change(asker, mark).expect("an exchange");
                    let path = call.text(asker, Text::NormalizedPath).expect("an exchange").expect("a path");
                    let target = Change::set_target(path.replacen("/old", "/new", 1));
                    let _ = call.change(asker, target).expect("an exchange");
                }
                Some(1) => {
                    call.text(asker, Text::Authority).expect("an exchange");
                    let _ = call.route_to(asker, Route("images".into())).expect("an exchange");
                }
                _ => {}
            }
            self.memo.learn(Phase::Request, call.recorder(), Verdict::Next);
            let (exchange, _) = call.end();
            (Verdict::Next, exchange.expect("it was lent"))
        }
    }

    fn decided(policy: &Policy, host: &str, path: &str) -> (Option<String>, bool) {
        let (verdict, exchange) = policy.decide(exchange("GET", host, path));
        assert_eq!(verdict, Verdict::Next);
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
            let (_, exchange) = policy.decide(exchange("GET", "a", path));
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
        let mut call = Call::default();
        call.begin(Phase::Request, exchange("GET", "a", "/"), None, true);
        call.exchange().expect("it was lent");
        policy.memo.learn(Phase::Request, call.recorder(), Verdict::Next);
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
