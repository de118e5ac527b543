//! Counts the exchanges of its instance, to show which ones share one.

use std::cell::Cell;

use tidegate_plugin_sdk::prelude::*;

struct Counter {
    requests: Cell<u64>,
    /// Tells instances apart.
    instance: u64,
}

#[policy]
impl Policy for Counter {
    type Config = ();

    fn configure((): ()) -> Result<Self, Error> {
        Ok(Self { requests: Cell::new(0), instance: environment::random() })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        self.requests.set(self.requests.get() + 1);
        let count = self.requests.get();
        request.set_token(count);
        let marked = request
            .set_header("x-count", count.to_string())
            .and_then(|()| request.set_header("x-instance", format!("{:016x}", self.instance)))
            .and_then(|()| request.set_attribute("count", &count.to_string()));
        if marked.is_ok() { Verdict::Next } else { Verdict::Fail }
    }

    fn on_response(&self, request: &Request, response: &Response) -> Verdict {
        let token = request.token().to_string();
        let attribute = request.attribute("count").unwrap_or_default();
        let marked = response
            .set_header("x-token", token)
            .and_then(|()| response.set_header("x-attribute", attribute));
        if marked.is_ok() { Verdict::Next } else { Verdict::Fail }
    }
}
