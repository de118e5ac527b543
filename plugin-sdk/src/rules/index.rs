//! Which rules may apply, by host and path, without a look at all the others.

use std::collections::BTreeMap;

/// Rules by what they say about the host, and whether they say something about the path.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Those that name no host.
    any: Numbers,
    /// Those that do, whichever.
    hosted: Numbers,
    exact: BTreeMap<String, Numbers>,
    /// By what a host ends with, `.example.org`.
    below: BTreeMap<String, Numbers>,
}

/// Positions of rules, ascending.
#[derive(Debug, Default)]
struct Numbers {
    with_paths: Vec<usize>,
    without: Vec<usize>,
}

/// One entry of `hosts`, lower case.
#[derive(Debug)]
pub(super) enum Host {
    Exact(String),
    /// `.example.org`
    Below(String),
}

/// What is known of a request.
pub(super) struct Known<'a> {
    /// The first rule with a path that fits, which all rules with paths before it do not; `Some(None)`: none does.
    pub(super) path: Option<Option<usize>>,
    /// Lower case, without port and trailing dot.
    pub(super) host: Option<&'a str>,
}

/// The next rule that may apply, or what has to be asked to know it. Nothing is asked that no rule before it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Next {
    Rule,
    Path,
    Host,
}

impl Index {
    /// The rules in order: the hosts of each, and whether it has paths.
    pub(super) fn new<'a>(rules: impl Iterator<Item = (&'a [Host], bool)>) -> Self {
        let mut index = Self::default();
        for (number, (hosts, has_paths)) in rules.enumerate() {
            match hosts.is_empty() {
                true => index.any.add(number, has_paths),
                false => index.hosted.add(number, has_paths),
            }
            for host in hosts {
                let numbers = match host {
                    Host::Exact(name) => index.exact.entry(name.clone()),
                    Host::Below(suffix) => index.below.entry(suffix.clone()),
                };
                numbers.or_default().add(number, has_paths);
            }
        }
        index
    }

    /// The next rule from position `from` on that may apply, with what is known.
    pub(super) fn next(&self, from: usize, known: &Known<'_>) -> Option<(usize, Next)> {
        let any = self.any.next(from, known, Next::Rule);
        let hosted = match known.host {
            None => self.hosted.next(from, known, Next::Host),
            Some(host) => self.of_host(host).filter_map(|rules| rules.next(from, known, Next::Rule)).min(),
        };
        [any, hosted].into_iter().flatten().min()
    }

    /// Those that name this host, or something that it is below.
    fn of_host(&self, host: &str) -> impl Iterator<Item = &Numbers> {
        let dots = host.match_indices('.').map(|(at, _)| at);
        // `*.example.org` is not `.example.org` itself.
        let below = dots.filter(|at| *at > 0).filter_map(|at| self.below.get(&host[at..]));
        self.exact.get(host).into_iter().chain(below)
    }
}

impl Numbers {
    fn add(&mut self, number: usize, has_paths: bool) {
        let numbers = if has_paths { &mut self.with_paths } else { &mut self.without };
        // One rule may name a host twice.
        if numbers.last() != Some(&number) {
            numbers.push(number);
        }
    }

    /// The next one, and `then` unless the path is to be asked first.
    fn next(&self, from: usize, known: &Known<'_>, then: Next) -> Option<(usize, Next)> {
        let with_paths = match known.path {
            None => at_or_after(&self.with_paths, from).map(|number| (number, Next::Path)),
            Some(None) => None,
            Some(Some(first)) => at_or_after(&self.with_paths, from.max(first)).map(|number| (number, then)),
        };
        let without = at_or_after(&self.without, from).map(|number| (number, then));
        [with_paths, without].into_iter().flatten().min()
    }
}

fn at_or_after(numbers: &[usize], from: usize) -> Option<usize> {
    numbers.get(numbers.partition_point(|number| *number < from)).copied()
}
