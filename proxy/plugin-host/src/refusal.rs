//! Why the host does not do what a policy asks for, in every version of the contract.

/// Why an edit was refused. A refused edit changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EditError {
    /// Not valid HTTP.
    Invalid,
    /// The proxy owns it, or it is too late for it.
    Forbidden,
    /// Over the operator's limits or the host's.
    TooLarge,
}

/// Why a route was refused. The route chosen before stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteError {
    /// There is no such destination.
    Unknown,
    /// Not for this policy, or not any more.
    NotGranted,
}

/// Why a request is not sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryError {
    /// There is no such destination.
    Unknown,
    /// Not for this policy.
    NotGranted,
    /// It was done before, or what was sent cannot be sent again.
    NotPossible,
}
