//! Where policies keep what they share, as `[state]` says.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tidegate_config::{Config, Problem, Redis, StateBackend};
use tidegate_state::{RedisUrl, State};
use tokio::runtime::Handle;

use crate::regular;

/// `runtime` has to last as long as the state.
pub(crate) fn open(config: &Config, runtime: &Handle) -> Result<State, Problem> {
    let StateBackend::Redis(redis) = &config.state.backend else { return Ok(State::memory()) };
    let refused = |key: &str, message: String| config.positions.problem(key, message);
    let invalid = |error: String| refused("state.backend", error);
    let mut url: RedisUrl =
        url(redis).parse().map_err(|error: tidegate_state::UrlError| invalid(error.to_string()))?;
    if let Some(ca) = redis.tls.as_ref().and_then(|tls| tls.ca.as_ref()) {
        let pem = regular::read(ca)
            .map_err(|error| refused("state.ca", format!("cannot read {}: {error}", ca.display())))?;
        url = url.with_authorities(pem);
    }
    State::redis(&url, config.state.store_timeout, runtime).map_err(|error| invalid(error.to_string()))
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
