//! Capability `rate-limit`: decided and counted in one step.

use std::time::Duration;

use tidegate_message::network;
use tidegate_state::{self as state, Answer};
use wasmtime::component::WasmStr;

use super::Interface;
use crate::contract::common::{Store, define_limiter, unexpected_wait};
use crate::contract::v0_2::bindings::tidegate::policy::rate_limit::{Decision, OpenError, Scope, WhenDown};
use crate::services::{LimiterScope, LimiterSpec, LimiterWhenDown};

type Open = (String, u64, u64, u64, Scope, WhenDown);

/// `may_wait`: the state is in a shared store.
pub(super) fn link(limits: &mut Interface<'_>, may_wait: bool) -> wasmtime::Result<()> {
    limits.question("open", |store: Store<'_>, (name, limit, period, burst, scope, when_down): Open| {
        if !store.data().plugin.granted.grants.rate_limit {
            return Ok((Err(OpenError::NotGranted),));
        }
        let (scope, when_down) = (scope.into(), when_down.into());
        let spec = LimiterSpec { name, limit, period, burst, scope, when_down };
        Ok((define_limiter(store, spec)?.map_err(OpenError::Invalid),))
    })?;
    if !may_wait {
        limits.function("take", |store: Store<'_>, (limiter, key, cost): (u32, WasmStr, u64)| {
            let key = key.to_str(&store)?;
            let taken = store.data().defined.limiters.get(limiter, "limiter")?.take(&key, cost);
            Ok((decided(taken)?,))
        })?;
        return limits.function("take-for-client", |store: Store<'_>, (limiter, cost): (u32, u64)| {
            let key = client(&store)?;
            let taken = store.data().defined.limiters.get(limiter, "limiter")?.take(&key, cost);
            Ok((decided(taken)?,))
        });
    }
    limits.suspends("take", |store: Store<'_>, (limiter, key, cost): (u32, WasmStr, u64)| {
        let taken = key
            .to_str(&store)
            .and_then(|key| Ok(store.data().defined.limiters.get(limiter, "limiter")?.take(&key, cost)));
        Box::new(async move { Ok((Decision::from(taken?.wait().await),)) })
    })?;
    limits.suspends("take-for-client", |store: Store<'_>, (limiter, cost): (u32, u64)| {
        let taken = client(&store)
            .and_then(|key| Ok(store.data().defined.limiters.get(limiter, "limiter")?.take(&key, cost)));
        Box::new(async move { Ok((Decision::from(taken?.wait().await),)) })
    })
}

/// Who counts as one client.
fn client(store: &Store<'_>) -> wasmtime::Result<String> {
    Ok(network(store.data().exchange()?.client).to_string())
}

fn decided(taken: Answer<state::Decision>) -> wasmtime::Result<Decision> {
    match taken {
        Answer::Now(decision) => Ok(decision.into()),
        Answer::Later(_) => Err(unexpected_wait()),
    }
}

impl From<state::Decision> for Decision {
    fn from(decision: state::Decision) -> Self {
        Self {
            allowed: decision.allowed,
            limit: decision.limit,
            remaining: decision.remaining,
            reset_after: millis(decision.reset_after),
            retry_after: millis(decision.retry_after),
            decided_locally: decision.local,
        }
    }
}

/// Rounded up: who waits as long is let through.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

impl From<Scope> for LimiterScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Local => Self::Local,
            Scope::Shared => Self::Shared,
            Scope::Approximate => Self::Approximate,
        }
    }
}

impl From<WhenDown> for LimiterWhenDown {
    fn from(when_down: WhenDown) -> Self {
        match when_down {
            WhenDown::Local => Self::Local,
            WhenDown::Allow => Self::Allow,
            WhenDown::Deny => Self::Deny,
        }
    }
}
