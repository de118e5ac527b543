//! The form of these files, for those who run them in their tests: the host, and the double in the SDK.

use std::collections::BTreeMap;

use serde::Deserialize;

fn read<'a, T: Deserialize<'a>>(json: &'a str) -> T {
    serde_json::from_str(json).expect("the form this test knows")
}

/// Spellings of paths, each with its normal form.
pub(crate) fn paths() -> Vec<(String, String)> {
    read(include_str!("paths.json"))
}

/// Globs, each as it is compared with paths; `None`: it matches none.
pub(crate) fn globs() -> Vec<(String, Option<String>)> {
    read(include_str!("globs.json"))
}

#[derive(Deserialize)]
pub(crate) struct Hosts {
    /// Authorities, each with its host.
    pub(crate) hosts: Vec<(String, String)>,
    pub(crate) patterns: Vec<HostPattern>,
    pub(crate) refused: Vec<String>,
}

#[derive(Deserialize)]
pub(crate) struct HostPattern {
    pub(crate) pattern: String,
    pub(crate) matches: Vec<String>,
    pub(crate) others: Vec<String>,
}

pub(crate) fn hosts() -> Hosts {
    read(include_str!("hosts.json"))
}

#[derive(Deserialize)]
pub(crate) struct Patterns {
    pub(crate) lists: Vec<PatternList>,
    pub(crate) refused: Vec<RefusedList>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PatternList {
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) ignore_case: bool,
    pub(crate) patterns: Vec<String>,
    /// Each with the index of the first pattern that matches.
    pub(crate) texts: BTreeMap<String, Option<u32>>,
}

#[derive(Deserialize)]
pub(crate) struct RefusedList {
    pub(crate) kind: String,
    pub(crate) patterns: Vec<String>,
    /// Which of them is at fault.
    pub(crate) entry: usize,
}

pub(crate) fn patterns() -> Patterns {
    read(include_str!("patterns.json"))
}

#[derive(Deserialize)]
pub(crate) struct Addresses {
    pub(crate) sets: Vec<AddressSet>,
    pub(crate) refused: Vec<RefusedSet>,
}

#[derive(Deserialize)]
pub(crate) struct AddressSet {
    pub(crate) entries: Vec<String>,
    pub(crate) inside: Vec<String>,
    pub(crate) outside: Vec<String>,
}

#[derive(Deserialize)]
pub(crate) struct RefusedSet {
    pub(crate) entries: Vec<String>,
    pub(crate) error: String,
}

pub(crate) fn addresses() -> Addresses {
    read(include_str!("addresses.json"))
}

/// By function, entries with the error they are refused with, if they are.
pub(crate) fn activation() -> BTreeMap<String, Vec<(String, Option<String>)>> {
    read(include_str!("activation.json"))
}

/// By what is set, texts with what comes of them.
pub(crate) fn edits() -> BTreeMap<String, Vec<(String, String)>> {
    read(include_str!("edits.json"))
}

/// Values of `Content-Encoding`, with the number of codings that can be undone, if all can.
pub(crate) fn codings() -> Vec<(Vec<String>, Option<usize>)> {
    read(include_str!("codings.json"))
}

type ByName<T> = BTreeMap<String, T>;

#[derive(Deserialize)]
pub(crate) struct Values {
    /// Queries, each with parameters and all their values.
    pub(crate) query: Vec<(String, ByName<Vec<String>>)>,
    /// Values of `cookie`, with cookies and their values.
    pub(crate) cookie: Vec<(Vec<String>, ByName<Option<String>>)>,
}

pub(crate) fn values() -> Values {
    read(include_str!("values.json"))
}
