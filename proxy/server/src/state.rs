//! Where policies keep what they share, as `[state]` says.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tidegate_config::{Config, Problem, Redis, StateBackend};
use tidegate_state::{RedisUrl, Secret, State};
use tokio::runtime::Handle;

use crate::regular;

/// `runtime` has to last as long as the state. `secret` is that of the process whose place this one takes, or a new one.
pub(crate) fn open(config: &Config, secret: Secret, runtime: &Handle) -> Result<State, Problem> {
    let StateBackend::Redis(redis) = &config.state.backend else { return Ok(State::memory_with(secret)) };
    let refused = |key: &str, message: String| config.positions.problem(key, message);
    let invalid = |error: String| refused("state.backend", error);
    let mut url: RedisUrl =
        url(redis).parse().map_err(|error: tidegate_state::UrlError| invalid(error.to_string()))?;
    if let Some(ca) = redis.tls.as_ref().and_then(|tls| tls.ca.as_ref()) {
        let pem = regular::read(ca)
            .map_err(|error| refused("state.ca", format!("cannot read {}: {error}", ca.display())))?;
        url = url.with_authorities(pem);
    }
    State::redis(&url, config.state.store_timeout, secret, runtime)
        .map_err(|error| invalid(error.to_string()))
}

fn url(redis: &Redis) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let credentials = redis.credentials.as_ref().map(|credentials| {
        let user = credentials.user.as_deref().map(encoded).unwrap_or_default();
        format!("{user}:{}@", encoded(credentials.password.reveal()))
    });
    let scheme = if redis.tls.is_some() { "rediss" } else { "redis" };
    let host = if redis.host.contains(':') { format!("[{}]", redis.host) } else { redis.host.clone() };
    let (credentials, port, database) = (credentials.unwrap_or_default(), redis.port, redis.database);
    format!("{scheme}://{credentials}{host}:{port}/{database}")
}
