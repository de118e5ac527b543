//! Capability `callout`: requests of a policy's own.

use std::time::Duration;

use http::header::HeaderValue;
use wasmtime::component::{Lift, WasmList, WasmStr};

use super::Interface;
use crate::callout::{self, Sending, Sent};
use crate::contract::common::{self, Bytes, Store, copy};
use crate::contract::v0_2::bindings::tidegate::policy::callout::CalloutError;
use crate::state::State;

pub(super) fn link(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    link_request(interface)?;
    interface.suspends("send", |mut store: Store<'_>, (request,): (u32,)| {
        let sent = store.data_mut().send(&[request]);
        Box::new(async move {
            let answer = all(sent?).await.pop().unwrap_or(Err(callout::CalloutError::Failed));
            Ok((received(store.data_mut(), answer),))
        })
    })?;
    interface.suspends("send-all", |mut store: Store<'_>, (requests,): (Vec<u32>,)| {
        let sent = store.data_mut().send(&requests);
        Box::new(async move {
            let answered = all(sent?).await;
            let state = store.data_mut();
            let answers: Vec<_> = answered.into_iter().map(|answer| received(state, answer)).collect();
            Ok((answers,))
        })
    })?;
    link_response(interface)
}

fn link_request(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.function(
        "begin",
        |mut store: Store<'_>, (upstream, method, target): (WasmStr, WasmStr, WasmStr)| {
            let upstream = common::text(upstream.to_str(&store)?).unwrap_or_default();
            let method = method.to_str(&store)?.into_owned();
            let target = common::text(target.to_str(&store)?).unwrap_or_default();
            Ok((store.data_mut().callouts.begin(upstream, &method, target)?,))
        },
    )?;
    interface.function("set-host", |mut store: Store<'_>, (request, host): (u32, WasmStr)| {
        let host = common::text(host.to_str(&store)?).unwrap_or_default();
        store.data_mut().callouts.draft(request)?.set_host(host);
        Ok(())
    })?;
    link_header::<WasmStr>(interface, "set-header", true)?;
    link_header::<WasmList<u8>>(interface, "set-header-bytes", true)?;
    link_header::<WasmStr>(interface, "append-header", false)?;
    link_header::<WasmList<u8>>(interface, "append-header-bytes", false)?;
    interface.function("copy-headers", |mut store: Store<'_>, (request, names): (u32, Vec<String>)| {
        let state = store.data_mut();
        state.callouts.draft(request)?.copy(&names, &state.call.exchange()?.request.headers);
        Ok(())
    })?;
    link_body::<WasmList<u8>>(interface, "set-body")?;
    link_body::<WasmStr>(interface, "set-body-text")?;
    interface.function("set-timeout", |mut store: Store<'_>, (request, milliseconds): (u32, u32)| {
        let timeout = Duration::from_millis(milliseconds.into());
        store.data_mut().callouts.draft(request)?.set_timeout(timeout);
        Ok(())
    })
}

fn link_response(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.function("status", |store: Store<'_>, (response,): (u32,)| {
        Ok((store.data().callouts.answered(response)?.status.as_u16(),))
    })?;
    interface.function("header", |store: Store<'_>, (response, name): (u32, WasmStr)| {
        let name = name.to_str(&store)?;
        let value = store.data().callouts.answered(response)?.headers.get(&*name);
        let text = value.map(HeaderValue::as_bytes).and_then(|value| str::from_utf8(value).ok());
        Ok((text.map(str::to_owned),))
    })?;
    interface.function("header-values", |store: Store<'_>, (response, name): (u32, WasmStr)| {
        let name = name.to_str(&store)?;
        let values = store.data().callouts.answered(response)?.headers.get_all(&*name);
        Ok((values.iter().map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>(),))
    })?;
    interface.function("headers", |store: Store<'_>, (response,): (u32,)| {
        Ok((copy(&store.data().callouts.answered(response)?.headers).collect::<Vec<_>>(),))
    })?;
    interface.function("body-len", |store: Store<'_>, (response,): (u32,)| {
        Ok((store.data().callouts.answered(response)?.body.len().try_into().unwrap_or(u32::MAX),))
    })?;
    interface.function("read-body", |store: Store<'_>, (response, offset, max): (u32, u32, u32)| {
        let body = &store.data().callouts.answered(response)?.body;
        let clamp = |position: u32| usize::try_from(position).unwrap_or(usize::MAX).min(body.len());
        let (start, end) = (clamp(offset), clamp(offset.saturating_add(max)));
        Ok((body[start..end].to_vec(),))
    })?;
    interface.function("body-text", |store: Store<'_>, (response,): (u32,)| {
        let body = &store.data().callouts.answered(response)?.body;
        Ok((str::from_utf8(body).ok().map(str::to_owned),))
    })
}

fn link_header<V>(
    interface: &mut Interface<'_>,
    function: &'static str,
    replaces: bool,
) -> wasmtime::Result<()>
where
    V: Bytes + Lift + Send + Sync + 'static,
{
    interface.function(function, move |mut store: Store<'_>, (request, name, value): (u32, WasmStr, V)| {
        let name = common::text(name.to_str(&store)?).unwrap_or_default();
        let value = common::bytes(&value.look(&store)?).unwrap_or_default();
        store.data_mut().callouts.draft(request)?.set_header(&name, value, replaces);
        Ok(())
    })
}

fn link_body<B>(interface: &mut Interface<'_>, function: &'static str) -> wasmtime::Result<()>
where
    B: Bytes + Lift + Send + Sync + 'static,
{
    interface.function(function, |mut store: Store<'_>, (request, body): (u32, B)| {
        let body = body.look(&store)?.into_owned();
        store.data_mut().callouts.draft(request)?.set_body(body.into());
        Ok(())
    })
}

/// The numbers by which the plugin knows what came.
fn received(
    state: &mut State,
    answered: Result<callout::Answered, callout::CalloutError>,
) -> Result<u32, CalloutError> {
    answered.map(|answered| state.callouts.received(answered)).map_err(CalloutError::from)
}

type Answers = Vec<Result<callout::Answered, callout::CalloutError>>;

/// All at once, in their order.
async fn all(Sending { answers, place: _place }: Sending) -> Answers {
    enum Step {
        Waiting(Sent),
        Done(Option<Result<callout::Answered, callout::CalloutError>>),
    }
    let steps =
        answers.into_iter().map(|sent| sent.map_or_else(|error| Step::Done(Some(Err(error))), Step::Waiting));
    let mut steps: Vec<Step> = steps.collect();
    std::future::poll_fn(move |task| {
        let mut waits = false;
        for step in &mut steps {
            if let Step::Waiting(answer) = step {
                match answer.as_mut().poll(task) {
                    std::task::Poll::Ready(answer) => *step = Step::Done(Some(answer)),
                    std::task::Poll::Pending => waits = true,
                }
            }
        }
        if waits {
            return std::task::Poll::Pending;
        }
        let done = |step: &mut Step| match step {
            Step::Done(answer) => answer.take(),
            Step::Waiting(_) => None,
        };
        std::task::Poll::Ready(steps.iter_mut().filter_map(done).collect())
    })
    .await
}

impl From<callout::CalloutError> for CalloutError {
    fn from(error: callout::CalloutError) -> Self {
        match error {
            callout::CalloutError::NotGranted => Self::NotGranted,
            callout::CalloutError::Invalid => Self::InvalidRequest,
            callout::CalloutError::Failed => Self::Failed,
            callout::CalloutError::Timeout => Self::Timeout,
            callout::CalloutError::TooLarge => Self::TooLarge,
            callout::CalloutError::TooMany => Self::TooMany,
        }
    }
}
