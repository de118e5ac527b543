//! The fields `ratelimit-policy` and `ratelimit` (draft-ietf-httpapi-ratelimit-headers-10), which tell clients of limits.

use std::time::Duration;

use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::rate_limit::Decision;

use crate::limit::Limit;

/// Which responses carry the fields.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Show {
    /// Those to requests over a limit.
    #[default]
    Refused,
    /// All to which a limit applied.
    All,
    /// None.
    None,
}

/// Both fields of one response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    policy: String,
    limit: String,
}

impl Fields {
    const POLICY: &str = "ratelimit-policy";
    const LIMIT: &str = "ratelimit";

    /// All limits that apply, and how much is left of the tightest.
    pub(crate) fn new<'a>(
        applying: impl Iterator<Item = &'a Limit>,
        tightest: &Limit,
        decision: &Decision,
    ) -> Self {
        let policies = applying.map(|limit| {
            let period = limit.period.as_secs();
            format!("\"{}\";q={};w={period}", limit.name, limit.limit)
        });
        // No more than the quota is told, whatever the burst.
        let left = decision.remaining.min(tightest.limit);
        let wait = tightest.until_more(decision);
        Self {
            policy: policies.collect::<Vec<_>>().join(", "),
            limit: format!("\"{}\";r={left};t={}", tightest.name, whole_seconds(wait)),
        }
    }

    pub(crate) fn add_to(self, reply: Reply) -> Reply {
        reply.header(Self::POLICY, self.policy).header(Self::LIMIT, self.limit)
    }

    /// To be read in the response phase.
    pub(crate) fn keep(&self, request: &Request) -> Result<(), EditError> {
        request.set_note("fields", format!("{}\n{}", self.policy, self.limit))?;
        request.set_token(1);
        Ok(())
    }

    pub(crate) fn kept(request: &Request) -> Option<Self> {
        if request.token() == 0 {
            return None;
        }
        let note = String::from_utf8(request.note("fields")?).ok()?;
        let (policy, limit) = note.split_once('\n')?;
        Some(Self { policy: policy.to_owned(), limit: limit.to_owned() })
    }

    /// Beside those of the server, which has limits of its own: lists may stand in several fields (RFC 9651 §3.1).
    pub(crate) fn append_to(&self, response: &Response) -> Result<(), EditError> {
        response.append_header(Self::POLICY, &self.policy)?;
        response.append_header(Self::LIMIT, &self.limit)
    }
}

/// Rounded up: who waits as long is let through.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
