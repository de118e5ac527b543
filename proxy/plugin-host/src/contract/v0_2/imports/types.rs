//! The contract's types and the host's own.

use std::net::IpAddr;

use crate::bodies::BodyMode;
use crate::contract::v0_2::bindings::tidegate::policy::{matching, response, types};
use crate::matching::Kind;
use crate::refusal::{EditError, RetryError, RouteError};

impl From<IpAddr> for types::IpAddress {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::Ipv4(ip.octets().into()),
            IpAddr::V6(ip) => Self::Ipv6(ip.segments().into()),
        }
    }
}

impl From<types::IpAddress> for IpAddr {
    fn from(ip: types::IpAddress) -> Self {
        match ip {
            types::IpAddress::Ipv4((a, b, c, d)) => [a, b, c, d].into(),
            types::IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => [a, b, c, d, e, f, g, h].into(),
        }
    }
}

impl From<http::Version> for types::Version {
    fn from(version: http::Version) -> Self {
        match version {
            http::Version::HTTP_10 | http::Version::HTTP_09 => Self::Http10,
            http::Version::HTTP_2 => Self::Http2,
            http::Version::HTTP_3 => Self::Http3,
            _ => Self::Http11,
        }
    }
}

impl From<types::BodyMode> for BodyMode {
    fn from(mode: types::BodyMode) -> Self {
        match mode {
            types::BodyMode::Skip => Self::Skip,
            types::BodyMode::Chunks => Self::Chunks,
            types::BodyMode::StatefulChunks => Self::StatefulChunks,
            types::BodyMode::Whole => Self::Whole,
        }
    }
}

impl From<EditError> for types::EditError {
    fn from(error: EditError) -> Self {
        match error {
            EditError::Invalid => Self::Invalid,
            EditError::Forbidden => Self::Forbidden,
            EditError::TooLarge => Self::TooLarge,
        }
    }
}

impl From<RouteError> for types::RouteError {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::Unknown => Self::Unknown,
            RouteError::NotGranted => Self::NotGranted,
        }
    }
}

impl From<RetryError> for response::RetryError {
    fn from(error: RetryError) -> Self {
        match error {
            RetryError::Unknown => Self::Unknown,
            RetryError::NotGranted => Self::NotGranted,
            RetryError::NotPossible => Self::NotPossible,
        }
    }
}

impl From<matching::PatternKind> for Kind {
    fn from(kind: matching::PatternKind) -> Self {
        match kind {
            matching::PatternKind::Exact => Self::Exact,
            matching::PatternKind::Prefix => Self::Prefix,
            matching::PatternKind::Suffix => Self::Suffix,
            matching::PatternKind::Contains => Self::Contains,
            matching::PatternKind::Glob => Self::Glob,
            matching::PatternKind::Regex => Self::Regex,
        }
    }
}
