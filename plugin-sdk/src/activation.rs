//! Narrows when the policy is called at all: the proxy checks it without entering the plugin.
//!
//! Only from [`configure`](crate::Policy::configure); later calls are refused. Calling a function again
//! replaces what it set; what several functions set must all hold. Requests outside pass as if the policy
//! had returned [`Verdict::Next`](crate::Verdict::Next), in every phase.

use crate::{Error, host};

/// Only requests whose normalised path matches one of these globs ([`matching`](crate::matching)).
///
/// # Errors
///
/// A glob does not parse, or this is not `configure`.
pub fn only_paths(globs: impl IntoIterator<Item = impl Into<String>>) -> Result<(), Error> {
    host::activation::only_paths(&strings(globs)).map_err(Error::from_host)
}

/// Only requests for these hosts, `example.org` or `*.example.org`; case and port do not count.
///
/// # Errors
///
/// Not a host, or this is not `configure`.
pub fn only_hosts(hosts: impl IntoIterator<Item = impl Into<String>>) -> Result<(), Error> {
    host::activation::only_hosts(&strings(hosts)).map_err(Error::from_host)
}

/// Only requests with one of these methods.
///
/// # Errors
///
/// Not a method, or this is not `configure`.
pub fn only_methods(methods: impl IntoIterator<Item = impl Into<String>>) -> Result<(), Error> {
    host::activation::only_methods(&strings(methods)).map_err(Error::from_host)
}

/// Only requests that carry one of these header fields.
///
/// # Errors
///
/// Not a field name, or this is not `configure`.
pub fn only_with_headers(names: impl IntoIterator<Item = impl Into<String>>) -> Result<(), Error> {
    host::activation::only_with_headers(&strings(names)).map_err(Error::from_host)
}

/// Promises that the verdict and every edit depend on nothing but what the policy reads from the request
/// (no clock, no chance), so that the proxy may remember and reuse them.
pub fn pure() {
    host::activation::pure();
}

/// Tells of every destination that the policy names in [`route_to`](crate::Request::route_to), so that the operator learns
/// of those that do not exist.
pub fn routes(destinations: impl IntoIterator<Item = impl Into<String>>) {
    host::activation::routes(&strings(destinations));
}

fn strings(items: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    items.into_iter().map(Into::into).collect()
}
