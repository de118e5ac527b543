//! Spans, and the message in which a collector takes them: OTLP 1 over protobuf, by hand.
//!
//! <https://github.com/open-telemetry/opentelemetry-proto>. About ten messages, of which a few fields are written: less
//! than the crates that would come with generated ones.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One span.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Which trace it belongs to.
    pub trace: u128,
    /// Its own number.
    pub id: u64,
    /// The span around it; 0: none.
    pub parent: u64,
    /// As they are passed on.
    pub flags: u8,
    /// The name.
    pub name: String,
    /// Which side of a request it is.
    pub kind: SpanKind,
    /// When it began.
    pub begun: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// What happened meanwhile.
    pub events: Vec<Event>,
    /// Why it failed; `None`: it did not.
    pub error: Option<String>,
}

/// Which side of a request a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum SpanKind {
    Server,
    Client,
}

/// What happened at one moment of a span.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When.
    pub at: SystemTime,
    /// What.
    pub name: &'static str,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Value)>,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Value {
    Text(String),
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// An `ExportTraceServiceRequest` with these spans of one resource.
pub fn message(resource: &[(String, String)], version: &str, spans: &[Span]) -> Vec<u8> {
    let mut message = Message::default();
    // resource_spans
    message.message(1, |resource_spans| {
        resource_spans.message(1, |described| {
            for (key, value) in resource {
                described.message(1, |attribute| key_value(attribute, key, &Value::Text(value.clone())));
            }
        });
        // scope_spans
        resource_spans.message(2, |scope_spans| {
            scope_spans.message(1, |scope| {
                scope.text(1, "tidegate");
                scope.text(2, version);
            });
            for span in spans {
                scope_spans.message(2, |message| write_span(message, span));
            }
        });
    });
    message.0
}

fn write_span(message: &mut Message, span: &Span) {
    message.bytes(1, &span.trace.to_be_bytes());
    message.bytes(2, &span.id.to_be_bytes());
    if span.parent != 0 {
        message.bytes(4, &span.parent.to_be_bytes());
    }
    message.text(5, &span.name);
    message.number(
        6,
        match span.kind {
            SpanKind::Server => 2,
            SpanKind::Client => 3,
        },
    );
    message.fixed64(7, nanos(span.begun));
    message.fixed64(8, nanos(span.begun + span.took));
    for (key, value) in &span.attributes {
        message.message(9, |attribute| key_value(attribute, key, value));
    }
    for event in &span.events {
        message.message(11, |message| {
            message.fixed64(1, nanos(event.at));
            message.text(2, event.name);
            for (key, value) in &event.attributes {
                message.message(3, |attribute| key_value(attribute, key, value));
            }
        });
    }
    if let Some(error) = &span.error {
        message.message(15, |status| {
            status.text(2, error);
            status.number(3, 2);
        });
    }
    message.fixed32(16, span.flags.into());
}

fn key_value(message: &mut Message, key: &str, value: &Value) {
    message.text(1, key);
    message.message(2, |any| match value {
        Value::Text(text) => any.text(1, text),
        // Two's complement, as int64 has it.
        Value::Number(number) => any.number(3, number.cast_unsigned()),
    });
}

fn nanos(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

/// A protobuf message in the making (<https://protobuf.dev/programming-guides/encoding/>).
#[derive(Default)]
struct Message(Vec<u8>);

/// The forms in which values are written.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn tag(&mut self, field: u64, form: u64) {
        self.varint(field << 3 | form);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.tag(field, VARINT);
        self.varint(value);
    }

    fn fixed64(&mut self, field: u64, value: u64) {
        self.tag(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn fixed32(&mut self, field: u64, value: u32) {
        self.tag(field, FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.tag(field, LENGTH);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn message(&mut self, field: u64, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_protobuf_has_them() {
        // The examples of the guide, and the largest number.
        let written = |write: fn(&mut Message)| {
            let mut message = Message::default();
            write(&mut message);
            message.0
        };
        assert_eq!(written(|it| it.number(1, 150)), [0x08, 0x96, 0x01]);
        assert_eq!(written(|it| it.text(2, "testing")), *b"\x12\x07testing");
        assert_eq!(written(|it| it.message(3, |inner| inner.number(1, 150))), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        assert_eq!(written(|it| it.number(1, u64::MAX)).len(), 11);
        assert_eq!(written(|it| it.fixed32(16, 1)), [0x85, 0x01, 1, 0, 0, 0]);
    }

    #[test]
    fn a_span_has_its_numbers_and_its_place() {
        let span = Span {
            trace: 0x0102,
            id: 3,
            parent: 4,
            flags: 1,
            name: "GET app".to_owned(),
            kind: SpanKind::Server,
            begun: UNIX_EPOCH + Duration::from_secs(1),
            took: Duration::from_millis(1),
            attributes: vec![("http.response.status_code", Value::from(200_u16))],
            events: Vec::new(),
            error: None,
        };
        let resource = [("service.name".to_owned(), "edge".to_owned())];
        let message = message(&resource, "1", &[span]);
        let holds = |part: &[u8]| message.windows(part.len()).any(|window| window == part);
        assert!(holds(b"\x0a\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02\x12\x08\0\0\0\0\0\0\0\x03\x22\x08\0\0\0\0\0\0\0\x04"));
        assert!(holds(b"\x2a\x07GET app\x30\x02") && holds(b"\x0a\x0cservice.name\x12\x06\x0a\x04edge"));
        assert!(holds(b"http.response.status_code\x12\x03\x18\xc8\x01"));
    }
}
