//! Callouts, answered by the test itself.

use std::cell::RefCell;

pub(crate) use crate::bindings::imports::tidegate::policy::callout::{CalloutError, Incoming, Outgoing};
use crate::double::http::Request;
use crate::http::Reply;
use crate::testing::Callout;

type Answerer = Box<dyn Fn(&Callout) -> Result<Reply, crate::callout::CalloutError>>;

thread_local! {
    static PREPARED: RefCell<Vec<Callout>> = const { RefCell::new(Vec::new()) };
    static RECEIVED: RefCell<Vec<Reply>> = const { RefCell::new(Vec::new()) };
    static ANSWERER: RefCell<Option<Answerer>> = const { RefCell::new(None) };
}

pub(crate) fn answer_with(answerer: Answerer) {
    ANSWERER.set(Some(answerer));
}

pub(crate) fn begin(destination: &str, method: &str, target: &str) -> Outgoing {
    let callout = Callout {
        destination: destination.to_owned(),
        method: method.to_owned(),
        target: target.to_owned(),
        host: None,
        headers: Vec::new(),
        body: Vec::new(),
        timeout: None,
    };
    PREPARED.with_borrow_mut(|prepared| {
        prepared.push(callout);
        u32::try_from(prepared.len() - 1).expect("a test prepares a handful")
    })
}

fn change(request: Outgoing, change: impl FnOnce(&mut Callout)) {
    PREPARED.with_borrow_mut(|prepared| change(&mut prepared[request as usize]));
}

pub(crate) fn set_host(request: Outgoing, host: &str) {
    change(request, |callout| callout.host = Some(host.to_owned()));
}

pub(crate) fn set_header_bytes(request: Outgoing, name: &str, value: &[u8]) {
    change(request, |callout| {
        callout.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        callout.headers.push((name.to_owned(), value.to_vec()));
    });
}

pub(crate) fn append_header_bytes(request: Outgoing, name: &str, value: &[u8]) {
    change(request, |callout| callout.headers.push((name.to_owned(), value.to_vec())));
}

pub(crate) fn copy_headers(request: Outgoing, from: &Request, names: &[String]) {
    let fields = from.headers();
    change(request, |callout| {
        let asked =
            |(name, _): &(String, Vec<u8>)| names.iter().any(|asked| asked.eq_ignore_ascii_case(name));
        callout.headers.extend(fields.into_iter().filter(asked));
    });
}

pub(crate) fn set_body(request: Outgoing, body: &[u8]) {
    change(request, |callout| callout.body = body.to_vec());
}

pub(crate) fn set_timeout(request: Outgoing, milliseconds: u32) {
    change(request, |callout| {
        callout.timeout = Some(std::time::Duration::from_millis(milliseconds.into()));
    });
}

pub(crate) fn send(request: Outgoing) -> Result<Incoming, CalloutError> {
    let callout = PREPARED.with_borrow(|prepared| prepared[request as usize].clone());
    let answered = ANSWERER.with_borrow(|answerer| match answerer {
        Some(answer) => answer(&callout),
        None => panic!(
            "a callout to {:?}: say with testing::answer_callouts what comes of it",
            callout.destination
        ),
    });
    let reply = answered.map_err(|error| match error {
        crate::callout::CalloutError::NotGranted => CalloutError::NotGranted,
        crate::callout::CalloutError::InvalidRequest => CalloutError::InvalidRequest,
        crate::callout::CalloutError::Failed => CalloutError::Failed,
        crate::callout::CalloutError::Timeout => CalloutError::Timeout,
        crate::callout::CalloutError::TooLarge => CalloutError::TooLarge,
        crate::callout::CalloutError::TooMany => CalloutError::TooMany,
    })?;
    RECEIVED.with_borrow_mut(|received| {
        received.push(reply);
        Ok(u32::try_from(received.len() - 1).expect("a test receives a handful"))
    })
}

pub(crate) fn send_all(requests: &[Outgoing]) -> Vec<Result<Incoming, CalloutError>> {
    requests.iter().map(|request| send(*request)).collect()
}

fn reply<T>(response: Incoming, read: impl FnOnce(&Reply) -> T) -> T {
    RECEIVED.with_borrow(|received| read(&received[response as usize]))
}

pub(crate) fn status(response: Incoming) -> u16 {
    reply(response, |reply| reply.status)
}

pub(crate) fn header(response: Incoming, name: &str) -> Option<String> {
    String::from_utf8(header_values(response, name).into_iter().next()?).ok()
}

pub(crate) fn header_values(response: Incoming, name: &str) -> Vec<Vec<u8>> {
    let named = headers(response).into_iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value).collect()
}

pub(crate) fn headers(response: Incoming) -> Vec<(String, Vec<u8>)> {
    reply(response, |reply| reply.headers.clone())
}

pub(crate) fn read_body(response: Incoming, offset: u32, max: u32) -> Vec<u8> {
    reply(response, |reply| {
        let rest = reply.body.get(offset as usize..).unwrap_or_default();
        rest[..(max as usize).min(rest.len())].to_vec()
    })
}
