//! What surprises without being wrong.

use super::{UPSTREAMS, read};

/// The warnings about a text, one per line, without the file's name.
fn warnings(text: &str, routable: &[&str]) -> Vec<String> {
    let config = read(text).expect("the text is valid");
    let shown = config.warnings(|name| routable.contains(&name)).into_iter();
    shown.map(|warning| warning.to_string().replace("etc/tidegate.toml:", "")).collect()
}

#[test]
fn each_has_its_place_and_says_what_to_do() {
    let text = r#"[listener.web]
address = "127.0.0.1:80"
[upstream.one]
servers = ["127.0.0.1:1"]
balance = "hash"
[upstream."a.b"]
servers = ["127.0.0.1:1", "127.0.0.1:2"]
balance = "hash"
"#;
    let nobody = "nobody can reach it; make it the default-upstream, name it in a listener or let a policy route to it";
    let dead = concat!(
        "4:11: upstream.one: one server and no health check: when it is dead, requests find out one by one; ",
        r#"add health = { path = "/healthz" } or health = { tcp = true }"#
    );
    let hash = r#"5:11: upstream.one: balance = "hash" has one server to choose from; add servers, or leave balance out"#;
    assert_eq!(
        warnings(text, &[]),
        [
            format!("3:1: upstream.one: {nobody}"),
            dead.to_owned(),
            hash.to_owned(),
            format!("6:1: upstream.a.b: {nobody}")
        ]
    );
    assert_eq!(warnings(text, &["one", "a.b"]), [dead, hash]);
}

#[test]
fn an_upstream_is_reached_by_default_by_a_listener_or_by_a_policy() {
    let text = r#"default-upstream = "a"
[listener]
tcp = { address = "127.0.0.1:1", tcp = "b" }
tls = { address = "127.0.0.1:2", tls-passthrough = { "*" = "c" } }
[upstream]
a.servers = ["a:1"]
b.servers = ["a:1"]
c.servers = ["a:1"]
d.servers = ["a:1"]
"#;
    assert_eq!(warnings(text, &["d"]), [""; 0]);
    assert_eq!(warnings(text, &[]).len(), 1);
}

#[test]
fn request_bodies_that_are_allowed_should_fit_where_they_are_kept() {
    let with = |lines: &str| {
        format!(
            "default-upstream = \"a\"\n[listener.a]\naddress = \"127.0.0.1:1\"\n[upstream.a]\nservers = [\"a:1\"]\n{lines}\n"
        )
    };
    assert_eq!(
        warnings(&with("buffer-requests = { memory = \"1MiB\", disk = \"2MiB\" }"), &[]),
        [concat!(
            "6:19: upstream.a: a body of more than 3MiB gets 413 although limits.request-body is 16MiB; ",
            "raise buffer-requests.disk, or lower limits.request-body"
        )]
    );
    for lines in ["buffer-requests = true", "buffer-requests = { memory = \"16MiB\", disk = \"0B\" }"] {
        assert_eq!(warnings(&with(lines), &[]), [""; 0], "{lines}");
    }
}

#[test]
fn a_single_server_with_a_check_or_a_host_name_is_no_surprise() {
    let with = |lines: &str| {
        format!("default-upstream = \"a\"\n[listener.a]\naddress = \"127.0.0.1:1\"\n[upstream.a]\n{lines}\n")
    };
    assert_eq!(warnings(&with("servers = [\"unix:/a\"]"), &[]).len(), 1);
    assert_eq!(warnings(&with("servers = [\"unix:/a\"]\nhealth = { tcp = true }"), &[]), [""; 0]);
    assert_eq!(warnings(&with("servers = [\"a:1\"]\nbalance = \"hash\""), &[]), [""; 0]);
    assert_eq!(warnings(UPSTREAMS, &[]), warnings(UPSTREAMS, &["app"]));
}
