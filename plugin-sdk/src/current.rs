//! The exchange of the current call, as objects: the imported functions with the shape that [`double`](crate::double) has
//! in tests, where there may be several.

pub(crate) use crate::bindings::imports::tidegate::policy::{
    activation, crypto, environment, log, metrics, password, store,
};

/// Functions of an interface as methods of an object that carries nothing.
macro_rules! methods {
    ($object:ident: $($interface:ident { $(fn $name:ident($($parameter:ident: $type:ty),*) $(-> $result:ty)?;)* })*) => {
        impl $object {
            $($(pub(crate) fn $name(&self, $($parameter: $type),*) $(-> $result)? {
                crate::bindings::imports::tidegate::policy::$interface::$name($($parameter),*)
            })*)*
        }
    };
}

pub(crate) mod http {
    use crate::bindings::imports::tidegate::policy::body::Found;
    pub(crate) use crate::bindings::imports::tidegate::policy::response::RetryError;
    pub(crate) use crate::bindings::imports::tidegate::policy::types::{
        BodyMode, EditError, Fields, IpAddress, RouteError, Version,
    };

    /// The request of this call.
    pub(crate) struct Request;
    /// Its response.
    pub(crate) struct Response;
    /// The body, or the piece of one, that this call is about.
    pub(crate) struct Body;

    type Field = (String, Vec<u8>);
    type Edit<T = ()> = Result<T, EditError>;

    methods! { Request:
        request {
            fn id() -> String;
            fn listener() -> String;
            fn client_ip() -> IpAddress;
            fn client_ip_text() -> String;
            fn peer_address() -> String;
            fn local_address() -> String;
            fn is_tls() -> bool;
            fn tls_version() -> Option<u16>;
            fn tls_cipher_suite() -> Option<u16>;
            fn server_name() -> Option<String>;
            fn client_verified() -> bool;
            fn client_certificate_sha256() -> Option<Vec<u8>>;
            fn client_certificate_names() -> Vec<String>;
            fn client_certificate_subject() -> Option<String>;
            fn client_certificate_serial() -> Option<String>;
            fn client_certificate() -> Option<Vec<u8>>;
            fn http_version() -> Version;
            fn method() -> String;
            fn method_is(method: &str) -> bool;
            fn set_method(method: &str) -> Edit;
            fn scheme() -> String;
            fn authority() -> String;
            fn set_authority(authority: &str) -> Edit;
            fn path() -> String;
            fn normalized_path() -> String;
            fn path_starts_with(prefix: &str) -> bool;
            fn query() -> Option<String>;
            fn query_param(name: &str) -> Option<String>;
            fn query_params(name: &str) -> Vec<String>;
            fn original_target() -> String;
            fn set_target(target: &str) -> Edit;
            fn header(name: &str) -> Option<String>;
            fn header_values(name: &str) -> Vec<Vec<u8>>;
            fn header_count(name: &str) -> u32;
            fn header_contains(name: &str, text: &str) -> bool;
            fn headers() -> Fields;
            fn cookie(name: &str) -> Option<String>;
            fn set_header_bytes(name: &str, value: &[u8]) -> Edit;
            fn append_header_bytes(name: &str, value: &[u8]) -> Edit;
            fn remove_header(name: &str) -> Edit<u32>;
            fn route_to(name: &str) -> Result<(), RouteError>;
            fn route() -> Option<String>;
            fn set_timeout(milliseconds: u32);
            fn set_hash_key(key: &str);
            fn limit_body(bytes: u64);
            fn use_cache(name: &str) -> Result<(), RouteError>;
            fn bypass_cache();
            fn add_cache_key(part: &str) -> Edit;
            fn set_cache_lifetime(seconds: u32);
            fn add_cache_tag(tag: &str) -> Edit;
            fn respond_bytes(status: u16, headers: &[Field], body: &[u8]) -> Edit;
            fn has_body() -> bool;
            fn content_length() -> Option<u64>;
            fn set_body_mode(mode: BodyMode);
            fn decode_body() -> bool;
            fn bytes_received() -> u64;
        }
        exchange {
            fn token() -> u64;
            fn set_token(value: u64);
            fn note(name: &str) -> Option<Vec<u8>>;
            fn set_note(name: &str, value: &[u8]) -> Edit;
            fn attribute(key: &str) -> Option<String>;
            fn set_attribute(key: &str, value: &str) -> Edit;
        }
    }

    methods! { Response:
        response {
            fn status() -> u16;
            fn set_status(status: u16) -> Edit;
            fn header(name: &str) -> Option<String>;
            fn header_values(name: &str) -> Vec<Vec<u8>>;
            fn header_count(name: &str) -> u32;
            fn headers() -> Fields;
            fn set_header_bytes(name: &str, value: &[u8]) -> Edit;
            fn append_header_bytes(name: &str, value: &[u8]) -> Edit;
            fn remove_header(name: &str) -> Edit<u32>;
            fn content_length() -> Option<u64>;
            fn set_body_mode(mode: BodyMode);
            fn decode_body() -> bool;
            fn respond_bytes(status: u16, headers: &[Field], body: &[u8]) -> Edit;
            fn retry_at(name: &str) -> Result<(), RetryError>;
            fn origin() -> Option<String>;
            fn server() -> Option<String>;
            fn attempts() -> u32;
            fn failure() -> Option<String>;
            fn elapsed() -> u64;
            fn bytes_sent() -> u64;
        }
    }

    methods! { Body:
        body {
            fn len() -> u32;
            fn read(offset: u32, max: u32) -> Vec<u8>;
            fn find(needle: &[u8], offset: u32) -> Option<u32>;
            fn find_pattern(patterns: u32, offset: u32) -> Option<Found>;
            fn replace(bytes: &[u8]) -> Edit;
            fn replace_range(offset: u32, length: u32, bytes: &[u8]) -> Edit;
            fn hold_back(bytes: u32);
            fn is_last() -> bool;
        }
    }
}

pub(crate) mod matching {
    use super::http::{Body, Request, Response};
    use crate::bindings::imports::tidegate::policy::matching;
    pub(crate) use matching::{
        Matcher, PatternKind, body_patterns, ip_set, ip_set_has, match_text, path_patterns, patterns,
    };

    pub(crate) fn ip_set_has_client(set: Matcher, _: &Request) -> bool {
        matching::ip_set_has_client(set)
    }

    pub(crate) fn match_path(patterns: Matcher, _: &Request) -> Option<u32> {
        matching::match_path(patterns)
    }

    pub(crate) fn match_header(patterns: Matcher, _: &Request, name: &str) -> Option<u32> {
        matching::match_header(patterns, name)
    }

    pub(crate) fn match_response_header(patterns: Matcher, _: &Response, name: &str) -> Option<u32> {
        matching::match_response_header(patterns, name)
    }

    pub(crate) fn match_body(patterns: Matcher, _: &Body) -> Option<u32> {
        matching::match_body(patterns)
    }
}

pub(crate) mod rate_limit {
    use super::http::Request;
    use crate::bindings::imports::tidegate::policy::rate_limit;
    pub(crate) use rate_limit::{Decision, Limiter, OpenError, open, take};

    pub(crate) fn take_for_client(limiter: Limiter, _: &Request, cost: u64) -> Decision {
        rate_limit::take_for_client(limiter, cost)
    }
}

pub(crate) mod callout {
    use super::http::Request;
    use crate::bindings::imports::tidegate::policy::callout;
    pub(crate) use callout::{
        CalloutError, Incoming, Outgoing, append_header_bytes, begin, header, header_values, headers,
        read_body, send, send_all, set_body, set_header_bytes, set_host, set_timeout, status,
    };

    pub(crate) fn copy_headers(outgoing: Outgoing, _: &Request, names: &[String]) {
        callout::copy_headers(outgoing, names);
    }
}
