//! What the interface answers, in the words of OpenAPI 3.1: made from one table of the paths. A test asks all of them.

use serde_json::{Map, Value, json};

/// Of one operation.
struct Operation {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    /// The name of a schema of the content that is sent.
    takes: Option<&'static str>,
    /// The name of a schema of the answer; `None`: it is text.
    gives: Option<&'static str>,
    /// Beside 200.
    others: &'static [(u16, &'static str)],
}

const fn get(path: &'static str, summary: &'static str, gives: &'static str) -> Operation {
    Operation { method: "get", path, summary, takes: None, gives: Some(gives), others: &[] }
}

const UNKNOWN_SERVER: &[(u16, &str)] = &[(404, "there is no such upstream or server")];
const UNUSABLE: &[(u16, &str)] =
    &[(404, "there is no such upstream or server"), (422, "what was sent cannot be used")];

const OPERATIONS: &[Operation] = &[
    Operation {
        gives: None,
        others: &[(503, "workers that do not turn over, a line each")],
        ..get("/livez", "Whether every worker turns over", "")
    },
    Operation {
        gives: None,
        others: &[(503, "why not, a line each")],
        ..get("/readyz", "Whether requests are served as configured", "")
    },
    Operation { gives: None, ..get("/metrics", "Metrics, as Prometheus text or OpenMetrics by Accept", "") },
    get("/api/v1/status", "How the proxy fares", "Status"),
    get(
        "/api/v1/config",
        "The configuration that serves, with defaults, and where each value is written",
        "Configuration",
    ),
    get("/api/v1/plugins", "The policies, in order", "Plugins"),
    get("/api/v1/state", "Where policies keep what they share", "State"),
    get("/api/v1/acme", "How it stands with the certificates that the proxy obtains", "Acme"),
    Operation {
        method: "post",
        gives: None,
        others: &[(202, "it is begun"), (404, "no certificate is obtained for this name")],
        ..get("/api/v1/acme/{name}/renew", "A certificate for this name now", "")
    },
    Operation {
        gives: None,
        ..get("/api/v1/requests", "Requests that were explained, a line of JSON each", "")
    },
    Operation {
        gives: None,
        others: &[(404, "no such request is kept")],
        ..get("/api/v1/requests/{id}", "One of them, in words", "")
    },
    get("/api/v1/failures", "The latest exchanges that failed", "Failures"),
    get("/api/v1/history", "The last hour in points of ten seconds", "History"),
    Operation {
        gives: None,
        others: &[(503, "as many follow as may")],
        ..get("/api/v1/events", "What changes, each second: server-sent events with an object of JSON", "")
    },
    get("/api/v1/reloads", "The last reloads, the latest last", "Reloads"),
    Operation {
        method: "post",
        others: &[(422, "files that cannot be used")],
        ..get("/api/v1/reload", "Load all files now", "Reload")
    },
    Operation {
        method: "post",
        gives: None,
        others: &[(202, "it drains, and ends")],
        ..get("/api/v1/drain", "Drain, then end, as on SIGTERM", "")
    },
    Operation {
        method: "post",
        others: &[(409, "one is under way"), (422, "the new process does not serve, and this one goes on")],
        ..get(
            "/api/v1/upgrade",
            "Have the program, as its file is now, take the place of this process",
            "Upgraded",
        )
    },
    Operation {
        method: "post",
        takes: Some("Token"),
        others: &[(401, "this is not the token")],
        ..get("/api/v1/session", "A cookie in place of the token, for pages", "Nothing")
    },
    get("/api/v1/log", "The least important message that is logged", "Log"),
    Operation {
        method: "put",
        takes: Some("Log"),
        others: &[(422, "there is no such level")],
        ..get("/api/v1/log", "Log less or more, until the process ends", "Log")
    },
    get("/api/v1/caches", "What each cache has, and has done", "Caches"),
    Operation {
        method: "post",
        takes: Some("Purge"),
        others: &[(422, "what was sent cannot be used")],
        ..get("/api/v1/cache/purge", "Make what caches keep stale, or remove it", "Purged")
    },
    get("/api/v1/upstreams", "All upstreams with their servers", "Upstreams"),
    Operation { others: UNKNOWN_SERVER, ..get("/api/v1/upstreams/{upstream}", "One of them", "Upstream") },
    Operation {
        others: UNKNOWN_SERVER,
        ..get("/api/v1/upstreams/{upstream}/servers", "Its servers", "Servers")
    },
    Operation {
        method: "put",
        takes: Some("NewServers"),
        others: UNUSABLE,
        ..get(
            "/api/v1/upstreams/{upstream}/servers",
            "Put these in place of its servers, without a new generation, until the upstream changes in the configuration",
            "Upstream",
        )
    },
    Operation {
        method: "delete",
        others: UNKNOWN_SERVER,
        ..get("/api/v1/upstreams/{upstream}/servers", "Put those of the configuration back", "Upstream")
    },
    Operation {
        method: "post",
        others: UNKNOWN_SERVER,
        ..get("/api/v1/upstreams/{upstream}/servers/{server}/drain", "No new requests for it", "Upstream")
    },
    Operation {
        method: "post",
        others: UNKNOWN_SERVER,
        ..get(
            "/api/v1/upstreams/{upstream}/servers/{server}/disable",
            "The same, shown as disabled",
            "Upstream",
        )
    },
    Operation {
        method: "post",
        others: UNKNOWN_SERVER,
        ..get("/api/v1/upstreams/{upstream}/servers/{server}/enable", "Requests for it again", "Upstream")
    },
    Operation {
        method: "put",
        takes: Some("Weight"),
        others: UNUSABLE,
        ..get(
            "/api/v1/upstreams/{upstream}/servers/{server}/weight",
            "Another weight, until the process ends",
            "Upstream",
        )
    },
    get("/api/v1/openapi.json", "This document", "Document"),
];

pub(super) fn document() -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let entry = paths.entry(operation.path).or_insert_with(|| json!({}));
        entry[operation.method] = operation.describe();
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "The admin interface of tidegate", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "certificate": { "type": "mutualTLS" },
            },
        },
        "security": [{}, { "token": [] }, { "certificate": [] }],
    })
}

impl Operation {
    fn describe(&self) -> Value {
        let content = |schema: &str| json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{schema}") } } });
        let mut responses = Map::new();
        let ok = match self.gives {
            Some(schema) => json!({ "description": self.summary, "content": content(schema) }),
            None => json!({ "description": self.summary }),
        };
        responses.insert("200".to_owned(), ok);
        for (status, description) in self.others {
            responses.insert(status.to_string(), json!({ "description": description }));
        }
        responses.insert("401".to_owned(), json!({ "description": "the token is missing" }));
        let names = self.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        let parameters: Vec<Value> = names
            .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
            .collect();
        let mut operation =
            json!({ "summary": self.summary, "parameters": parameters, "responses": responses });
        if let Some(schema) = self.takes {
            operation["requestBody"] = json!({ "required": true, "content": content(schema) });
        }
        operation
    }
}

fn schemas() -> Value {
    let (text, whole, real, flag) = (
        json!({ "type": "string" }),
        json!({ "type": "integer" }),
        json!({ "type": "number" }),
        json!({ "type": "boolean" }),
    );
    let maybe = |kind: &str| json!({ "type": [kind, "null"] });
    let list = |items: Value| json!({ "type": "array", "items": items });
    let any = json!({ "type": "object" });
    let refer = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    // All that is always there.
    let object = |properties: Value| {
        let required: Vec<String> =
            properties.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
        json!({ "type": "object", "properties": properties, "required": required })
    };
    let report = object(json!({
        "at": whole,
        "result": { "type": "string", "enum": ["changed", "unchanged", "refused", "rolled-back"] },
        "generation": whole,
        "problems": list(text.clone()),
    }));
    json!({
        "Nothing": any,
        "Document": any,
        "Status": object(json!({
            "version": text, "generation": maybe("integer"), "began": whole, "uptime-s": whole, "draining": flag, "ready": flag,
            "problems": list(text.clone()),
            "reasons": list(text.clone()), "log-level": text, "workers": list(object(json!({ "turned-over-ms": whole }))),
            "listeners": list(object(json!({
                "name": text, "address": maybe("string"), "connections": whole, "in-flight": whole, "requests": whole,
            }))),
            "memory": object(json!({ "held": whole, "limit": whole })),
            "temporary-space": object(json!({ "used": whole, "limit": whole })),
            "process": any,
        })),
        "Configuration": object(json!({ "file": text, "values": any, "written": any })),
        "Plugins": list(object(json!({
            "name": text, "generation": maybe("integer"),
            "state": { "type": "string", "enum": ["serving", "refused", "quarantined", "failing", "disabled"] },
            "error": maybe("string"), "last_good": flag, "phases": list(text.clone()), "description": any,
            "compile_ms": maybe("integer"), "memory": maybe("integer"),
        }))),
        "State": object(json!({ "backend": text, "reach": text, "since": whole, "last-error": maybe("object") })),
        "Acme": object(json!({ "authorities": list(any.clone()), "names": list(any.clone()) })),
        "Failures": list(object(json!({
            "at": whole, "id": text, "listener": text, "method": maybe("string"), "path": maybe("string"), "status": maybe("integer"),
            "failure": text, "route": maybe("string"), "server": maybe("string"),
        }))),
        "History": object(json!({
            "seconds": whole,
            "points": list(object(json!({
                "at": whole, "rate": real, "errors": real, "p50-us": maybe("integer"), "p99-us": maybe("integer"),
            }))),
        })),
        "Reloads": list(report),
        "Reload": object(json!({ "generation": whole, "changed": flag, "problems": list(text.clone()) })),
        "Upgraded": object(json!({ "upgraded": flag, "pid": whole })),
        "Log": object(json!({
            "level": { "type": "string", "enum": ["error", "warn", "info", "debug", "trace"] },
        })),
        "Caches": list(object(json!({
            "name": text, "urls": whole, "memory": whole, "disk": whole, "stored": whole, "evicted": whole, "purged": whole,
            "disk-failures": whole,
        }))),
        "Purge": {
            "type": "object",
            "properties": {
                "url": text, "prefix": text, "host": text, "tag": text, "all": flag, "cache": text, "hard": flag,
            },
            "additionalProperties": false,
        },
        "Purged": {
            "type": "object",
            "properties": { "purged": whole, "others": text },
            "required": ["purged"],
            "additionalProperties": false,
        },
        "Token": object(json!({ "token": text })),
        "Weight": object(json!({ "weight": { "type": "integer", "minimum": 1, "maximum": 1000 } })),
        "Upstreams": list(refer("Upstream")),
        "Upstream": object(json!({ "name": text, "replaced": flag, "servers": refer("Servers") })),
        "Servers": list(object(json!({
            "address": text,
            "state": { "type": "string", "enum": ["up", "down", "ejected", "draining", "disabled"] },
            "weight": whole, "backup": flag, "in-flight": whole,
        }))),
        "NewServers": list(json!({ "anyOf": [text, {
            "type": "object",
            "properties": { "address": text, "weight": whole, "backup": flag },
            "required": ["address"],
            "additionalProperties": false,
        }] })),
    })
}
