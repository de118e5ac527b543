//! A whole response, as a client got it, and what a test expects of it.

use bytes::Bytes;
use http::{HeaderMap, Response, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// A whole response.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Version of the message.
    pub version: Version,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// The fields after the body.
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    /// First value of a field as text; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a text value"))
    }

    /// The values of a field, joined by commas.
    #[must_use]
    pub fn all(&self, name: &str) -> String {
        let values = self.headers.get_all(name).iter();
        values.map(|value| value.to_str().expect("a text value")).collect::<Vec<_>>().join(",")
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text body")
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The name of the [`Upstream::echo`](crate::Upstream::echo) that answered.
    #[must_use]
    pub fn echoed_by(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()["upstream"].as_str().expect("an echo").to_owned()
    }

    /// Panics, and shows all of it, unless it has this status and this body.
    #[track_caller]
    pub fn assert_is(&self, status: u16, text: &str) {
        assert!(self.status == status && self.text() == text, "not {status} with {text:?}: {self:?}");
    }

    /// Reads a response to its end.
    pub async fn read(response: Response<Incoming>) -> hyper::Result<Self> {
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned();
        Ok(Self {
            status: head.status.as_u16(),
            version: head.version,
            headers: head.headers,
            body: body.to_bytes(),
            trailers,
        })
    }
}
