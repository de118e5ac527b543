//! The way to an authority, and what it says beside the answer.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use crate::At;

/// What becomes of a request; the error is for people.
pub type TransportFuture = Pin<Box<dyn Future<Output = Result<Response<Bytes>, String>> + Send>>;

/// Sends requests to an authority.
pub trait Transport: Send + Sync + 'static {
    /// Sends one. The answer is bounded in size and in time.
    fn send(&self, request: Request<Bytes>) -> TransportFuture;
}

/// Where `Retry-After` is missing in an answer about a renewal (RFC 9773 §4.3.3).
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("21600");

/// How one attempt reaches an authority.
pub(crate) struct Client {
    transport: Arc<dyn Transport>,
    told: Told,
}

/// When the authority wants to be asked again, as it said last. Shared by the clones.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Option<At>>>);

impl Told {
    /// Forgets it.
    pub(crate) fn take(&self) -> Option<At> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, at: Option<At>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

impl Client {
    pub(crate) fn new(transport: Arc<dyn Transport>) -> (Self, Told) {
        let told = Told::default();
        (Self { transport, told: told.clone() }, told)
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (transport, told) = (self.transport.clone(), self.told.clone());
        Box::pin(async move {
            let is_get = *request.method() == Method::GET;
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let answer = transport.send(Request::from_parts(parts, body)).await;
            let mut answer = answer.map_err(|error| Error::Other(error.into()))?;
            told.set(retry_after(&answer));
            if is_get && answer.status().is_success() {
                answer.headers_mut().entry(RETRY_AFTER).or_insert(ASK_AGAIN);
            }
            let is_problem =
                serde_json::from_slice::<serde_json::Value>(answer.body()).is_ok_and(|body| body.is_object());
            if answer.status().as_u16() >= 400 && !is_problem {
                answer = in_words(&answer);
            }
            Ok(BytesResponse::from(answer.map(Full::new)))
        })
    }
}

/// Says in an answer what one that is no problem document (RFC 7807) says by its status.
fn in_words(answer: &Response<Bytes>) -> Response<Bytes> {
    let status = answer.status();
    let body = serde_json::json!({ "detail": status.to_string(), "status": status.as_u16() });
    let mut worded = Response::new(Bytes::from(body.to_string()));
    *worded.status_mut() = status;
    *worded.headers_mut() = answer.headers().clone();
    worded.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    worded
}

/// RFC 9110 §10.2.3; at most a day from now.
fn retry_after(answer: &Response<Bytes>) -> Option<At> {
    const LONGEST: Duration = Duration::from_secs(24 * 3600);
    let value = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    let now = At::now();
    let at = match value.parse() {
        Ok(seconds) => now.plus(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(value).ok()?.into(),
    };
    Some(at.min(now.plus(LONGEST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let answer = |value: &str| {
            let mut answer = Response::new(Bytes::new());
            answer.headers_mut().insert(RETRY_AFTER, value.parse().expect("a value"));
            retry_after(&answer)
        };
        let now = At::now();
        let soon = answer("120").expect("seconds");
        assert!((119..=125).contains(&soon.since(now).as_secs()), "{soon:?}");
        assert_eq!(answer("Thu, 01 Jan 1970 00:01:00 GMT"), Some(At(60)));
        let far = answer("99999999999").expect("a bound");
        assert!(far.since(now).as_secs() <= 24 * 3600 + 5);
        assert_eq!(answer("soon"), None);
        assert_eq!(retry_after(&Response::new(Bytes::new())), None);
    }
}
