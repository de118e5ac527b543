//! What policies made of a request, to be compared with what others make of it.

use std::sync::Arc;

use http::HeaderMap;
use tidegate_message::Reply;
use tidegate_plugin_host::Exchange;

/// What a policy made of a request.
pub(crate) struct Effects {
    verdict: &'static str,
    method: http::Method,
    authority: String,
    target: String,
    route: Option<Arc<str>>,
    headers: HeaderMap,
    reply: Option<Reply>,
}

impl Effects {
    pub(crate) fn of(exchange: &Exchange, verdict: &'static str) -> Self {
        let request = &exchange.request;
        Self {
            verdict,
            method: request.method.clone(),
            authority: request.authority.clone(),
            target: request.target().as_str().to_owned(),
            route: exchange.route.clone(),
            headers: request.headers.clone(),
            reply: exchange.reply.clone(),
        }
    }

    /// What the other one, of this name, does otherwise, a sentence each. Values of fields are not told: there may be secrets among them.
    pub(crate) fn differences(&self, other: &Self, its_name: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, one: &str, other: &str| {
            if one != other {
                found.push(format!("{what}: {one:?}, and {its_name} {other:?}"));
            }
        };
        compare("verdict", self.verdict, other.verdict);
        compare(
            "route",
            self.route.as_deref().unwrap_or_default(),
            other.route.as_deref().unwrap_or_default(),
        );
        compare("method", self.method.as_str(), other.method.as_str());
        compare("host", &self.authority, &other.authority);
        let path = |target: &str| target.split('?').next().unwrap_or_default().to_owned();
        compare("path", &path(&self.target), &path(&other.target));
        let status =
            |reply: &Option<Reply>| reply.as_ref().map_or(String::new(), |reply| reply.status.to_string());
        compare("response", &status(&self.reply), &status(&other.reply));
        if path(&self.target) == path(&other.target) && self.target != other.target {
            found.push("query: another".to_owned());
        }
        let names = self.headers.keys().chain(other.headers.keys());
        let mut told = Vec::new();
        for name in names {
            let differs = !self.headers.get_all(name).iter().eq(other.headers.get_all(name).iter());
            if differs && !told.contains(&name) {
                told.push(name);
                let (mine, others) = (self.headers.contains_key(name), other.headers.contains_key(name));
                let how = match (mine, others) {
                    (true, false) => "only without",
                    (false, true) => "only with",
                    _ => "another value with",
                };
                found.push(format!("field {name}: {how} {its_name}"));
            }
        }
        if let (Some(one), Some(other)) = (&self.reply, &other.reply)
            && one.status == other.status
            && (one.headers != other.headers || one.body != other.body)
        {
            found.push("response: other fields or another body".to_owned());
        }
        found
    }
}
