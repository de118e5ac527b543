//! Answers an authority that looks whether a name is the proxy's (RFC 8555 §8.3), before any policy decides.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tidegate_acme::HTTP_PATH;
use tidegate_message::Reply;

use super::active::ActiveExchange;

/// What the request asks for, if it may be such a question.
pub(super) fn asked(active: &ActiveExchange) -> Option<&str> {
    active.generation.challenges.as_ref()?;
    let is_read = matches!(active.method, Method::GET | Method::HEAD);
    let path = active.exchange.request.target().path();
    path.strip_prefix(HTTP_PATH).filter(|token| is_read && !token.is_empty())
}

/// The answer; `None`: the token is not ours, and the request is one as any other. Servers may have certificates obtained by
/// themselves.
pub(super) async fn answer(active: &ActiveExchange, token: &str) -> Option<Reply> {
    let body = active.generation.challenges.as_ref()?.http(token).await?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(Reply { status: StatusCode::OK, headers, body: body.into() })
}
