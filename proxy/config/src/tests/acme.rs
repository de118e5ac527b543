//! Certificates that the proxy obtains: for which names, from whom, and how.

use std::path::Path;
use std::time::Duration;

use super::{problems, read};
use crate::{AllowedBy, ChallengeKind, DnsHook, ExternalAccount, HookBy, KeyType, OnDemand, Secret};

/// A listener for clear text and one with names, on the lines below the one that is tested.
fn with(line: &str) -> String {
    format!(
        "{line}\n[listener.web]\naddress = \"0.0.0.0:80\"\n[listener.secure]\naddress = \"0.0.0.0:443\"\n\
         tls.acme = [\"Example.com\", \"www.example.com\"]\n"
    )
}

#[test]
fn every_key_arrives() {
    let text = with(
        r#"[acme]
email = "ops@example.com"
directory = "https://ca.internal:14000/dir"
storage = "state/acme"
ca = "certs/internal.pem"
key-type = "rsa-2048"
profile = "short"
external-account = { id = "kid-1", key = { file = "account.key" } }
challenges = ["tls-alpn-01", "dns-01"]
dns = { command = ["hooks/dns", "--zone"], wait = "0s", timeout = "5s" }
on-demand = { names = "names.txt", limit = 7 }
fallback = { directory = "https://other.example/dir", external-account = { id = "kid-2", key = { env = "KEY" } } }"#,
    );
    let config = read(&text).expect("the text is valid");
    assert_eq!(config.acme_names().into_iter().collect::<Vec<_>>(), ["example.com", "www.example.com"]);
    let acme = config.acme;
    assert_eq!(acme.email.as_deref(), Some("ops@example.com"));
    assert_eq!((&*acme.storage, acme.key_type), (Path::new("etc/state/acme"), KeyType::Rsa2048));
    assert_eq!(acme.challenges, [ChallengeKind::TlsAlpn01, ChallengeKind::Dns01]);
    let by = HookBy::Command(vec!["etc/hooks/dns".to_owned(), "--zone".to_owned()]);
    let dns = DnsHook { by, wait: Duration::ZERO, timeout: Duration::from_secs(5) };
    assert_eq!(acme.dns, Some(dns));
    let by = AllowedBy::Names("etc/names.txt".into());
    assert_eq!(acme.on_demand, Some(OnDemand { by, limit: 7 }));
    let [first, second] = &acme.authorities[..] else { panic!("two authorities") };
    assert_eq!((first.place, &*first.directory), ("acme", "https://ca.internal:14000/dir"));
    assert_eq!(first.ca.as_deref(), Some(Path::new("etc/certs/internal.pem")));
    assert_eq!(first.profile.as_deref(), Some("short"));
    let key = Secret::File("etc/account.key".into());
    assert_eq!(first.external_account, Some(ExternalAccount { id: "kid-1".to_owned(), key }));
    assert_eq!((second.place, &second.ca, &second.profile), ("acme.fallback", &None, &None));
    let key = Secret::Env("KEY".to_owned());
    assert_eq!(second.external_account, Some(ExternalAccount { id: "kid-2".to_owned(), key }));
}

#[test]
fn names_are_enough() {
    let acme = read(&with("")).expect("the text is valid").acme;
    let [only] = &acme.authorities[..] else { panic!("one authority") };
    assert_eq!(only.directory, "https://acme-v02.api.letsencrypt.org/directory");
    assert_eq!((&*acme.storage, acme.key_type), (Path::new("etc/acme"), KeyType::EcdsaP256));
    assert_eq!(acme.challenges, [ChallengeKind::Http01, ChallengeKind::TlsAlpn01]);
    let dns =
        read(&with("acme.dns.endpoint = \"http://127.0.0.1:9800/records\"")).expect("the text is valid").acme;
    assert_eq!(dns.challenges.last(), Some(&ChallengeKind::Dns01));
    assert_eq!(dns.dns.map(|dns| dns.wait), Some(Duration::from_secs(10)));
    let alone = "listener.secure.address = \"[::]:443\"\nlistener.secure.tls.acme = [\"a.test\"]";
    let alone = read(alone).expect("the text is valid");
    assert_eq!(alone.acme.challenges, [ChallengeKind::TlsAlpn01]);
    assert!(alone.ready.certificates);
}

#[test]
fn one_mistake_gives_one_problem_at_its_place() {
    for (line, expected) in [
        (
            "acme.directory = \"http://ca.test/dir\"",
            r#"1:18: acme.directory: "http://ca.test/dir" is not the URL of a directory; write it as in "https://acme-v02.api.letsencrypt.org/directory": ACME is spoken over TLS alone (RFC 8555 §6.1)"#,
        ),
        ("acme.directory = \"https:///dir\"", r#"1:18: acme.directory: "" is not a host name"#),
        (
            "acme.email = \"mailto:ops@example.com\"",
            r#"1:14: acme.email: "mailto:ops@example.com" is a URL; write "ops@example.com""#,
        ),
        (
            "acme.email = \"ops\"",
            r#"1:14: acme.email: "ops" is not an e-mail address; write one address, as in "ops@example.com""#,
        ),
        ("acme.challenges = []", "1:19: acme.challenges must not be empty"),
        (
            "acme.external-account = { id = \"a\", key = \"secret\" }",
            r#"1:43: acme.external-account.key must be a table, not text; write { file = "FILE" } or { env = "NAME" }: a secret does not stand in this file"#,
        ),
        (
            "acme.external-account = { id = \"a\", key = {} }",
            r#"1:43: acme.external-account.key does not say where the secret is; add file = "FILE" or env = "NAME""#,
        ),
        (
            "acme.dns = {}",
            r#"1:12: acme.dns does not say who sets records; add command = ["PROGRAM"] or endpoint = "http://127.0.0.1:9800/records""#,
        ),
        (
            "acme.dns = { command = [\"a\"], endpoint = \"https://a\" }",
            "1:42: acme.dns: endpoint cannot stand beside command; leave one of them out",
        ),
        (
            "acme.dns.endpoint = \"ftp://a\"",
            r#"1:21: acme.dns.endpoint: "ftp://a" is no URL for HTTP; write it as in "http://127.0.0.1:9800/records""#,
        ),
        (
            "acme.challenges = [\"dns-01\"]",
            r#"1:19: acme.challenges: dns-01 needs to know who sets DNS records; add dns = { command = ["PROGRAM"] }, or leave dns-01 out"#,
        ),
        (
            "acme.on-demand = {}",
            r#"1:18: acme.on-demand does not say who decides which names are allowed; add ask = "http://127.0.0.1:9800/allowed" or names = "FILE""#,
        ),
        (
            "acme.on-demand = { ask = \"http://a.test\", names = \"b\" }",
            "1:51: acme.on-demand: names cannot stand beside ask; leave one of them out",
        ),
        (
            "acme.share = \"state\"",
            r#"1:14: acme.share: proxies cannot meet in [state], as it is in the memory of each; add [state] with backend = "redis://HOST:6379", or leave share out"#,
        ),
        (
            "acme.fallback.directory = \"https://acme-v02.api.letsencrypt.org/directory\"",
            "1:27: acme.fallback.directory is that of the first authority; write that of another one, or leave fallback out",
        ),
    ] {
        assert_eq!(problems(&with(line)), [expected], "{line}");
    }
}

#[test]
fn a_name_must_be_one_that_can_be_shown() {
    let with = |names: &str| {
        format!(
            "listener.web.address = \"[::]:80\"\nlistener.a.address = \"[::]:443\"\nlistener.a.tls.acme = [{names}]"
        )
    };
    for (names, expected) in [
        (
            "\"*.a.test\"",
            r#"3:24: listener.a.tls.acme[0]: the certificate of the wildcard "*.a.test" takes a DNS record to obtain; add dns = { command = ["PROGRAM"] } to [acme], or write the names below it one by one"#,
        ),
        (
            "\"192.0.2.1\"",
            r#"3:24: listener.a.tls.acme[0]: "192.0.2.1" is an IP address, and a host name is needed; name files in tls.certificates for it"#,
        ),
        ("\"a.test.\"", r#"3:24: listener.a.tls.acme[0]: "a.test." ends with a dot; write "a.test""#),
        ("\"a_b.test\"", r#"3:24: listener.a.tls.acme[0]: "a_b.test" has a "_", which no authority signs"#),
        ("\"a.test\", \"a.test\"", r#"3:34: "a.test" stands twice in listener.a.tls.acme"#),
        (
            "\"a.test\", \"A.test\"",
            r#"3:34: listener.a.tls.acme[1]: "a.test" stands there already in another spelling; names are compared without regard to case: write it once"#,
        ),
    ] {
        assert_eq!(problems(&with(names)), [expected], "{names}");
    }
    let long = format!("\"{}.test\"", vec!["a".repeat(60); 4].join("."));
    assert!(problems(&with(&long))[0].contains("is longer than 230 characters"));
}

#[test]
fn what_is_chosen_can_be_answered() {
    let text = "acme.challenges = [\"http-01\"]\nlistener.a.address = \"[::]:443\"\nlistener.a.tls.acme = [\"a.test\"]";
    assert_eq!(
        problems(text),
        [
            r#"1:19: acme.challenges: no listener can answer http-01, as none speaks HTTP in clear text; add [listener.web] with address = "0.0.0.0:80", or leave http-01 out"#
        ]
    );
}

#[test]
fn somebody_decides_which_names_are_obtained_on_demand() {
    let text = "listener.a.address = \"[::]:443\"\nlistener.a.tls.on-demand = true";
    assert_eq!(
        problems(text),
        [
            r#"2:28: listener.a.tls.on-demand: nobody says which names are allowed; add on-demand = { ask = "http://127.0.0.1:9800/allowed" } or { names = "FILE" } to [acme]"#
        ]
    );
    let config = read(&format!("{text}\nacme.on-demand.ask = \"http://127.0.0.1:9800/a\""))
        .expect("the text is valid");
    assert!(config.obtains_certificates() && config.acme_names().is_empty());
    assert_eq!(config.acme.challenges, [ChallengeKind::TlsAlpn01]);
}

#[test]
fn a_table_without_names_is_warned_of() {
    let config =
        read("acme.email = \"a@b.test\"\nlistener.a.address = \"[::]:80\"").expect("the text is valid");
    let warnings: Vec<_> = config.warnings(|_| true).iter().map(ToString::to_string).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("no listener has names"), "{warnings:?}");
}
