//! File roots: which files are served and which never, in what form, and how much of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use http_body_util::BodyExt;
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::json;
use tidegate_tests::{Builder, Proxy, Upstream, assert_values, body, empty, request, stock, until, within};

/// A proxy whose default destination is the file root `www`, with these further lines, and no upstream.
fn root(lines: &str) -> Builder {
    Proxy::bare()
        .top("default-upstream = \"www\"")
        .listener("web", "")
        .section(&format!("[files.www]\nroot = \"www\"\n{lines}"))
}

/// Gives a file a time in the past, in seconds since 1970.
fn set_time(path: &Path, seconds: u64) {
    let file = fs::File::options().write(true).open(path).expect("a file");
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).expect("a time");
}

#[tokio::test]
async fn a_file_is_served_with_what_clients_and_caches_need() {
    let proxy = root("").file("www/a/notes.txt", "hello").start().await;
    set_time(&proxy.folder().join("www/a/notes.txt"), 1_000_000_000);
    for mut client in proxy.both().await {
        let answer = client.get("/a/notes.txt?v=1").await;
        answer.assert_is(200, "hello");
        for (name, value) in [
            ("content-type", "text/plain; charset=utf-8"),
            ("content-length", "5"),
            ("last-modified", "Sun, 09 Sep 2001 01:46:40 GMT"),
            ("accept-ranges", "bytes"),
            ("vary", ""),
            ("cache-control", ""),
        ] {
            assert_eq!(answer.header(name), value, "{name}");
        }
        assert!(answer.headers.contains_key("date"));
        assert!(answer.header("etag").ends_with("-3b9aca00-0-5\""), "{}", answer.header("etag"));
        let head = request("HEAD", "/a/notes.txt").body(empty()).expect("valid");
        let head = client.send(head).await;
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-length"), "5");
        assert_eq!(head.text(), "");
        assert_eq!(head.header("etag"), answer.header("etag"));
    }
    let line = proxy.access("/a/notes.txt?v=1").await;
    assert_values(&line, json!({ "route": "www", "bytes_out": 5, "failure": null }));
}

#[tokio::test]
async fn nothing_outside_the_root_is_ever_served() {
    let proxy =
        root("").file("secret", "SECRET").file("www/index.html", "index").file("www/a/b", "b").start();
    let proxy = proxy.await;
    let www = proxy.folder().join("www");
    fs::write(www.join(".env"), "SECRET").expect("a new file");
    fs::create_dir(www.join(".git")).expect("a new folder");
    fs::write(www.join(".git/config"), "SECRET").expect("a new file");
    symlink("../secret", www.join("link")).expect("a new link");
    symlink("..", www.join("up")).expect("a new link");
    symlink(proxy.folder().join("secret"), www.join("a/absolute")).expect("a new link");
    symlink("/proc/self/root", www.join("magic")).expect("a new link");
    let secret = proxy.folder().join("secret");
    let outside = secret.to_str().expect("a text path");
    let deep = "/a".repeat(50);
    for target in [
        "/../secret",
        "/a/../../secret",
        "/../../../../../../etc/passwd",
        "/./../secret",
        "/a/b/../../../secret",
        "//../secret",
        "///etc/passwd",
        "//etc/passwd",
        outside,
        &format!("/{outside}"),
        "/%2e%2e/secret",
        "/%2E%2E%2Fsecret",
        "/..%2fsecret",
        "/..%2Fsecret",
        "/.%2e/secret",
        "/%2e./secret",
        "/a%2f..%2f..%2fsecret",
        "/%2f%2fetc%2fpasswd",
        "/%2fetc/passwd",
        "/%252e%252e/secret",
        "/%252e%252e%252fsecret",
        "/..%252fsecret",
        "/%25252e%25252e/secret",
        "/%%32e%%32e/secret",
        "/%%32%65%%32%65/secret",
        "/%2%65%2%65/secret",
        "/%c0%ae%c0%ae/secret",
        "/%c0%ae%c0%ae%c0%afsecret",
        "/%e0%80%ae%e0%80%ae/secret",
        "/%uff0e%uff0e/secret",
        "/%u002e%u002e/secret",
        "/..\\secret",
        "/..%5csecret",
        "/..%5Csecret",
        "/a\\..\\..\\secret",
        "/%5c..%5csecret",
        "/\\secret",
        "/..%00/secret",
        "/../secret%00.html",
        "/secret%00",
        "/%00",
        "/index.html%00.txt",
        "/a/b%00/../../../secret",
        "/..;/secret",
        "/..;a=b/secret",
        "/.../secret",
        "/..../secret",
        "/..%20/secret",
        "/..%09/secret",
        "/..?/secret",
        "/..%3f/secret",
        "/..%23/secret",
        "/..//secret",
        "/..%2f/secret",
        "/%2e%2e",
        "/..",
        "/a/..%2f..",
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/.git",
        "/.git/",
        "/a/../.env",
        "/%2Egit%2Fconfig",
        "//.env",
        "/./.env",
        "/link",
        "/link/",
        "/up/secret",
        "/up",
        "/a/absolute",
        "/magic/etc/passwd",
        "/magic",
        "/file:///etc/passwd",
        "/C:/secret",
        "/~root",
        "/index.html/../../secret",
        "/index.html/",
        &format!("{deep}/../../secret"),
        &format!("/{}", "a".repeat(4000)),
        &"/x".repeat(3000),
    ] {
        let mut raw = proxy.raw().await;
        raw.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")).await;
        let answer = raw.read_to_end().await;
        assert!(!answer.contains("SECRET") && !answer.contains("root:"), "{target}: {answer}");
        // A target that means the root itself is answered with its index.
        let refused = ["HTTP/1.1 400 ", "HTTP/1.1 404 "].iter().any(|status| answer.starts_with(status));
        assert!(refused || answer.ends_with("\r\n\r\nindex"), "{target}: {answer}");
    }
}

#[tokio::test]
async fn names_are_decoded_once_and_may_hold_any_other_byte() {
    let proxy = root("")
        .section("[limits]\nambiguous-paths = \"pass\"")
        .file("www/%2e%2e", "percent")
        .file("www/a b+ü;=,&.txt", "odd")
        .start()
        .await;
    use std::os::unix::ffi::OsStrExt;
    let bytes = proxy.folder().join("www").join(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    fs::write(bytes, "bytes").expect("a new file");
    for (target, expected) in [
        ("/%252e%252e", "percent"),
        ("/a%20b+%C3%BC;=,&.txt", "odd"),
        ("/%61%20b%2B%c3%bc%3B%3D%2C%26%2Etxt", "odd"),
        ("/x/../a%20b+%C3%BC;=,&.txt", "odd"),
        ("//a%20b+%C3%BC;=,&.txt", "odd"),
        ("/%ff%FE", "bytes"),
    ] {
        let answer = proxy.get(target).await;
        assert_eq!(answer.status, 200, "{target}");
        assert_eq!(answer.text(), expected, "{target}");
    }
}

#[tokio::test]
async fn links_are_followed_only_where_the_operator_says_so() {
    let proxy = root("").file("outside/file", "outside").file("www/real/file", "real").start().await;
    symlink("real", proxy.folder().join("www/inside")).expect("a new link");
    symlink("../outside", proxy.folder().join("www/elsewhere")).expect("a new link");
    for target in ["/inside/file", "/elsewhere/file"] {
        assert_eq!(proxy.get(target).await.status, 404, "{target}");
    }
    proxy.reconfigure("root = \"www\"", "root = \"www\"\nfollow-symlinks = true").await;
    assert_eq!(proxy.get("/inside/file").await.text(), "real");
    assert_eq!(proxy.get("/elsewhere/file").await.text(), "outside");
    assert_eq!(proxy.get("/elsewhere/../../outside/file").await.status, 404);
}

#[tokio::test]
async fn a_root_that_is_a_link_can_be_swapped() {
    let builder = root("").file("v1/file", "one").file("v2/file", "two");
    let builder = builder.file("www/file", "zero");
    let proxy = builder.start().await;
    let www = proxy.folder().join("www");
    let mut client = proxy.http1().await;
    assert_eq!(client.get("/file").await.text(), "zero");
    fs::rename(&www, proxy.folder().join("v0")).expect("a new name");
    let answer = client.get("/file").await;
    answer.assert_is(500, "500 Internal Server Error\n");
    for (version, text) in [("v1", "one"), ("v2", "two")] {
        symlink(version, proxy.folder().join("next")).expect("a new link");
        fs::rename(proxy.folder().join("next"), &www).expect("a new name");
        assert_eq!(client.get("/file").await.text(), text);
    }
    let failures: Vec<_> =
        proxy.accesses("/file", 4).await.iter().map(|line| line["failure"].clone()).collect();
    assert_eq!(failures, [().into(), "file".into(), ().into(), serde_json::Value::Null]);
    assert!(proxy.log().all().iter().any(|line| line.contains("the file root www cannot be read")));
}

#[tokio::test]
async fn only_regular_files_are_served() {
    let proxy = root("index = [\"pipe\"]").file("www/a", "a").start().await;
    let pipe = proxy.folder().join("www/pipe");
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).expect("a new FIFO");
    let _socket =
        std::os::unix::net::UnixListener::bind(proxy.folder().join("www/socket")).expect("a socket");
    for target in ["/pipe", "/socket", "/", "/pipe/"] {
        assert_eq!(within("an answer", proxy.get(target)).await.status, 404, "{target}");
    }
}

#[tokio::test]
async fn directories_are_their_index_or_nothing() {
    let proxy = root("index = [\"index.html\", \"index.txt\"]")
        .file("www/index.html", "home")
        .file("www/docs/index.txt", "docs")
        .file("www/a:b/index.html", "colon")
        .file("www/bare/file", "file")
        .start()
        .await;
    let home = proxy.get("/").await;
    assert_eq!(home.text(), "home");
    assert_eq!(home.header("content-type"), "text/html; charset=utf-8");
    let docs = proxy.get("/docs/").await;
    assert_eq!(docs.text(), "docs");
    assert_eq!(docs.header("content-type"), "text/plain; charset=utf-8");
    for (target, location) in [
        ("/docs", "./docs/"),
        ("/docs?a=b&c=//d", "./docs/?a=b&c=//d"),
        ("//docs", "./docs/"),
        ("/x/../docs", "./docs/"),
        ("/%64ocs", "./docs/"),
        ("/a:b", "./a:b/"),
    ] {
        let answer = proxy.get(target).await;
        assert_eq!(answer.status, 308, "{target}");
        assert_eq!(answer.header("location"), location, "{target}");
    }
    for target in ["/bare", "/bare/", "/missing", "/missing/", "/index.html/", "/index.html/x"] {
        let answer = proxy.get(target).await;
        assert_eq!(answer.status, 404, "{target}");
        assert_eq!(answer.text(), "404 Not Found\n", "{target}");
        assert_eq!(proxy.access(target).await["failure"], serde_json::Value::Null);
    }
}

#[tokio::test]
async fn the_hidden_directory_of_acme_is_served() {
    let proxy = root("").file("www/.well-known/acme-challenge/token", "proof").start().await;
    assert_eq!(proxy.get("/.well-known/acme-challenge/token").await.text(), "proof");
}

#[tokio::test]
async fn the_fallback_stands_for_what_is_not_found() {
    let proxy = root("fallback = \"app/index.html\"\ncache-control = [{ paths = [\"/assets/**\"], value = \"immutable\" }]")
        .section("[limits]\nambiguous-paths = \"pass\"")
        .file("www/app/index.html", "app")
        .file("www/assets/a.js", "js")
        .file("www/folder/x", "x")
        .start()
        .await;
    for (target, accept) in [
        ("/", "*/*"),
        ("/users/42", "*/*"),
        ("/folder", "*/*"),
        ("/folder/", "*/*"),
        ("/assets/gone.js", "text/html,application/xhtml+xml,*/*;q=0.8"),
        ("/users/a.b", "text/html"),
        ("/assets/a.js/x", "*/*"),
    ] {
        let answer = proxy.ask("GET", target, &[("accept", accept)]).await;
        assert_eq!(answer.status, 200, "{target}");
        assert_eq!(answer.text(), "app", "{target}");
        // Caches must not keep the page that the proxy sends instead of a script.
        assert_eq!(answer.header("cache-control"), "", "{target}");
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    }
    assert_eq!(proxy.get("/assets/a.js").await.header("cache-control"), "immutable");
    // A script that is gone is not a page.
    assert_eq!(proxy.get("/assets/gone.js").await.status, 404);
    assert_eq!(proxy.ask("HEAD", "/users/42", &[]).await.header("content-length"), "3");
    // The fallback does not stand for files that the proxy refuses to look for.
    for target in ["/.env", "/a%2Fb", "/a%00"] {
        assert_eq!(proxy.get(target).await.status, 404, "{target}");
    }
    assert_eq!(proxy.get("/%zz").await.status, 400);
    assert_eq!(proxy.ask("POST", "/users/42", &[]).await.status, 405);
    fs::remove_file(proxy.folder().join("www/app/index.html")).expect("a file");
    assert_eq!(proxy.get("/users/42").await.status, 404);
}

#[tokio::test]
async fn other_methods_are_refused_and_the_connection_goes_on() {
    let proxy = root("").file("www/a", "a").start().await;
    let mut client = proxy.http1().await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
        let refused = client.send(request(method, "/a").body(body("ignored")).expect("valid")).await;
        assert_eq!(refused.status, 405, "{method}");
        assert_eq!(refused.header("allow"), "GET, HEAD", "{method}");
    }
    assert_eq!(client.send(request("GET", "/a").body(body("ignored")).expect("valid")).await.text(), "a");
    assert_eq!(client.get("/a").await.text(), "a");
}

#[tokio::test]
async fn conditions_are_met() {
    let proxy =
        root("cache-control = [{ paths = [\"**\"], value = \"no-cache\" }]").file("www/a.txt", "0123456789");
    let proxy = proxy.start().await;
    set_time(&proxy.folder().join("www/a.txt"), 1_000_000_000);
    let tag = proxy.get("/a.txt").await.header("etag").to_owned();
    let (then, before) = ("Sun, 09 Sep 2001 01:46:40 GMT", "Sun, 09 Sep 2001 01:46:39 GMT");
    for method in ["GET", "HEAD"] {
        for (fields, expected) in [
            (&[("if-none-match", tag.as_str())][..], 304),
            (&[("if-modified-since", then)], 304),
            (&[("if-modified-since", before)], 200),
            (&[("if-none-match", "\"other\""), ("if-modified-since", then)], 200),
            (&[("if-match", tag.as_str())], 200),
            (&[("if-match", "\"other\"")], 412),
            (&[("if-unmodified-since", before)], 412),
            (&[("if-none-match", tag.as_str()), ("range", "bytes=0-1")], 304),
        ] {
            let answer = proxy.ask(method, "/a.txt", fields).await;
            assert_eq!(answer.status, expected, "{method} {fields:?}");
            if expected == 304 {
                assert_eq!(answer.header("etag"), tag);
                assert_eq!(answer.header("cache-control"), "no-cache");
                assert!(answer.text().is_empty() && answer.header("content-length").is_empty(), "{answer:?}");
            }
        }
    }
    // A new version has a new tag, even of the same size and within the same second.
    fs::write(proxy.folder().join("www/a.txt"), "9876543210").expect("a writable file");
    let answer = proxy.ask("GET", "/a.txt", &[("if-none-match", &tag)]).await;
    answer.assert_is(200, "9876543210");
    assert_ne!(answer.header("etag"), tag);
}

#[tokio::test]
async fn parts_of_a_file_are_served() {
    let proxy = root("").file("www/a.txt", "0123456789").file("www/empty", "").start().await;
    set_time(&proxy.folder().join("www/a.txt"), 1_000_000_000);
    let tag = proxy.get("/a.txt").await.header("etag").to_owned();
    for (range, status, content_range, text) in [
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=7-", 206, "bytes 7-9/10", "789"),
        ("bytes=-2", 206, "bytes 8-9/10", "89"),
        ("bytes=0-", 206, "bytes 0-9/10", "0123456789"),
        ("bytes=20-,3-3", 206, "bytes 3-3/10", "3"),
        ("bytes=10-", 416, "bytes */10", "416 Range Not Satisfiable\n"),
        ("bytes=5-2", 200, "", "0123456789"),
        ("bytes=0-5,3-8", 200, "", "0123456789"),
        ("seconds=1-2", 200, "", "0123456789"),
    ] {
        for mut client in proxy.both().await {
            let request = request("GET", "/a.txt").header("range", range).body(empty()).expect("valid");
            let answer = client.send(request).await;
            assert_eq!(answer.status, status, "{range}");
            assert_eq!(answer.text(), text, "{range}");
            assert_eq!(answer.header("content-range"), content_range, "{range}");
            assert_eq!(answer.header("content-length"), text.len().to_string(), "{range}");
        }
    }
    assert_eq!(proxy.ask("HEAD", "/a.txt", &[("range", "bytes=0-1")]).await.status, 200);
    assert_eq!(proxy.ask("GET", "/empty", &[("range", "bytes=0-1")]).await.status, 200);
    let then = "Sun, 09 Sep 2001 01:46:40 GMT";
    for (condition, status) in
        [(tag.as_str(), 206), (then, 206), ("\"other\"", 200), (&format!("W/{tag}"), 200)]
    {
        let fields = [("range", "bytes=0-1"), ("if-range", condition)];
        assert_eq!(proxy.ask("GET", "/a.txt", &fields).await.status, status, "{condition}");
    }
}

#[tokio::test]
async fn several_parts_come_in_one_message() {
    let proxy = root("").file("www/a.txt", "0123456789").start().await;
    for mut client in proxy.both().await {
        let request = request("GET", "/a.txt").header("range", "bytes=8-,0-1, 4-4").body(empty());
        let answer = client.send(request.expect("valid")).await;
        assert_eq!(answer.status, 206);
        let kind = answer.header("content-type");
        let boundary =
            kind.strip_prefix("multipart/byteranges; boundary=").unwrap_or_else(|| panic!("{kind}"));
        let part = |range: &str, text: &str| {
            format!(
                "--{boundary}\r\ncontent-range: bytes {range}/10\r\n\
                 content-type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
            )
        };
        let expected =
            [part("8-9", "89"), part("0-1", "01"), part("4-4", "4"), format!("--{boundary}--\r\n")].concat();
        assert_eq!(answer.text(), expected);
        assert_eq!(answer.header("content-length"), expected.len().to_string());
        assert!(answer.header("content-range").is_empty());
    }
}

#[tokio::test]
async fn a_compressed_sibling_is_sent_to_those_who_take_it() {
    let proxy = root("")
        .file("www/app.js", "plain")
        .file("www/app.js.br", "brotli")
        .file("www/app.js.zst", "zstd")
        .file("www/app.js.gz", "gzip")
        .file("www/index.html", "page")
        .file("www/index.html.gz", "page in gzip")
        .file("www/alone.css", "alone")
        .start()
        .await;
    for (accept, coding, text) in [
        ("gzip, deflate, br, zstd", "br", "brotli"),
        ("gzip, zstd", "zstd", "zstd"),
        ("gzip;q=1, br;q=0.5", "gzip", "gzip"),
        ("identity", "", "plain"),
        ("br;q=0", "", "plain"),
        ("", "", "plain"),
    ] {
        let answer = proxy.ask("GET", "/app.js", &[("accept-encoding", accept)]).await;
        assert_eq!(answer.header("content-encoding"), coding, "{accept}");
        assert_eq!(answer.text(), text, "{accept}");
        assert_eq!(answer.header("content-type"), "text/javascript; charset=utf-8");
        assert_eq!(answer.header("vary"), "accept-encoding", "{accept}");
        assert_eq!(
            answer.header("etag").ends_with(&format!("-{coding}\"")),
            !coding.is_empty(),
            "{answer:?}"
        );
    }
    let fields = [("accept-encoding", "br"), ("range", "bytes=0-2")];
    let part = proxy.ask("GET", "/app.js", &fields).await;
    assert_eq!(part.status, 206);
    assert_eq!(part.text(), "bro");
    assert_eq!(part.header("content-encoding"), "br");
    let tag = proxy.ask("GET", "/app.js", &[("accept-encoding", "br")]).await.header("etag").to_owned();
    let again = [("accept-encoding", "br"), ("if-none-match", &tag)];
    let again = proxy.ask("GET", "/app.js", &again).await;
    assert_eq!(again.status, 304);
    assert_eq!(again.header("vary"), "accept-encoding");
    assert_eq!(proxy.ask("GET", "/app.js", &[("if-none-match", &tag)]).await.status, 200);

    assert_eq!(proxy.ask("GET", "/", &[("accept-encoding", "gzip")]).await.text(), "page in gzip");
    assert_eq!(proxy.ask("GET", "/alone.css", &[("accept-encoding", "gzip")]).await.header("vary"), "");
    // A request for the sibling itself gets it as it is.
    let sibling = proxy.ask("GET", "/app.js.gz", &[("accept-encoding", "gzip")]).await;
    assert_eq!(sibling.header("content-type"), "application/gzip");
    assert_eq!(sibling.header("content-encoding"), "");

    // A sibling that a deployment did not renew is older than its file.
    set_time(&proxy.folder().join("www/app.js.br"), 1_000_000_000);
    assert_eq!(proxy.ask("GET", "/app.js", &[("accept-encoding", "br, gzip")]).await.text(), "gzip");
    proxy.reconfigure("root = \"www\"", "root = \"www\"\nprecompressed = false").await;
    let answer = proxy.ask("GET", "/app.js", &[("accept-encoding", "gzip")]).await;
    assert_eq!(answer.text(), "plain");
    assert_eq!(answer.header("vary"), "");
}

#[tokio::test]
async fn the_first_pattern_that_matches_the_file_says_how_long_it_is_kept() {
    let lines = r#"cache-control = [
  { paths = ["/assets/**", "/*.js"], value = "public, max-age=31536000, immutable" },
  { paths = ["/docs/index.html"], value = "max-age=60" },
  { paths = ["/**"], value = "no-cache" },
]"#;
    let proxy = root(lines)
        .file("www/assets/a.css", "")
        .file("www/b.js", "")
        .file("www/docs/index.html", "")
        .file("www/docs/b.js", "")
        .start()
        .await;
    for (target, expected) in [
        ("/assets/a.css", "public, max-age=31536000, immutable"),
        ("/x/..//assets/%61.css", "public, max-age=31536000, immutable"),
        ("/b.js", "public, max-age=31536000, immutable"),
        ("/docs/", "max-age=60"),
        ("/docs/b.js", "no-cache"),
    ] {
        assert_eq!(proxy.get(target).await.header("cache-control"), expected, "{target}");
    }
    assert_eq!(proxy.get("/assets/missing").await.header("cache-control"), "");
}

/// Bytes of a large file: 32 MiB, or 100 MiB with `TIDEGATE_TEST_FULL` set.
fn large() -> usize {
    if std::env::var_os("TIDEGATE_TEST_FULL").is_some() { 100 << 20 } else { 32 << 20 }
}

#[tokio::test]
async fn a_large_file_goes_out_in_flat_memory() {
    let content: Vec<u8> = (0..large()).map(|at| (at / 1000 % 251) as u8).collect();
    let proxy = root("").file("www/large", content.clone()).start().await;
    for mut client in proxy.both().await {
        client.get("/missing").await;
        let before = proxy.resident_memory();
        let answer = client.start_get("/large").await;
        assert_eq!(answer.headers()["content-length"], large().to_string());
        let mut download = answer.into_body();
        let mut length = 0;
        while let Some(frame) = within("the next chunk", download.frame()).await {
            let chunk = frame.expect("a whole body").into_data().expect("data");
            assert!(chunk == content[length..length + chunk.len()], "other bytes at {length}");
            length += chunk.len();
        }
        assert_eq!(length, large());
        let grown = proxy.resident_memory().saturating_sub(before);
        assert!(grown < 8 << 20, "{grown} bytes more after the download");
    }
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_sent_is_broken_off() {
    let proxy = root("").file("www/large", vec![1; 32 << 20]).start().await;
    let mut client = proxy.http1().await;
    let answer = client.start_get("/large").await;
    let file = fs::File::options().write(true).open(proxy.folder().join("www/large")).expect("a file");
    file.set_len(1 << 20).expect("a shorter file");
    answer.into_body().collect().await.expect_err("a client must not take this for the whole file");
    assert_eq!(proxy.access("/large").await["failure"], "broken-off");
}

#[tokio::test]
async fn a_client_that_goes_away_closes_the_file() {
    let proxy = root("").file("www/large", vec![1; 32 << 20]).start().await;
    let mut raw = proxy.raw().await;
    raw.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await;
    raw.read_head().await;
    assert_eq!(proxy.times_open("www/large"), 1);
    drop(raw);
    until("the file to be closed", async || proxy.times_open("www/large") == 0).await;
}

#[tokio::test]
async fn a_policy_routes_to_a_file_root_and_edits_what_it_answers() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app)
        .section("[files.assets]\nroot = \"public\"")
        .file("public/static/a.txt", "a")
        .plugin(
            "10-rewrite",
            stock("rewrite"),
            "[config]\nrules = [{ path = \"^/s/(.*)$\", to = \"/static/$1\" }]\n\
             response-headers = { set = { x-content-type-options = \"nosniff\" } }",
        )
        .plugin(
            "20-router",
            stock("router"),
            "grants = { routes = [\"assets\"] }\n[config]\nrules = [{ paths = [\"/static/**\"], to = \"assets\" }]",
        )
        .start()
        .await;
    for target in ["/static/a.txt", "/s/a.txt"] {
        let answer = proxy.get(target).await;
        assert_eq!(answer.text(), "a");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(proxy.access(target).await["route"], "assets");
    }
    assert_eq!(proxy.get("/static/none").await.status, 404);
    assert_eq!(proxy.get("/other").await.echoed_by(), "app");
}

#[tokio::test]
async fn another_root_is_live_after_a_reload() {
    let proxy = root("").file("www/a", "one").file("other/a", "two").start().await;
    let mut client = proxy.http1().await;
    assert_eq!(client.get("/a").await.text(), "one");
    proxy.reconfigure("root = \"www\"", "root = \"other\"").await;
    assert_eq!(client.get("/a").await.text(), "two");
    // When the new root does not exist, the proxy keeps the old one.
    let config = proxy.folder().join("tidegate.toml");
    let text = fs::read_to_string(&config).expect("a file");
    fs::write(&config, text.replace("root = \"other\"", "root = \"nowhere\"")).expect("a writable file");
    let answer = proxy.reload().await;
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("cannot open the directory"), "{}", answer.text());
    assert_eq!(client.get("/a").await.text(), "two");
}

#[test]
fn check_says_where_a_root_is_not_there() {
    let checked = root("").file("www", "a file").check();
    assert_eq!(checked.status.code(), Some(1), "{checked}");
    let place = checked.stdout.lines().find(|line| line.contains("cannot open the directory"));
    let place = place.expect("the problem");
    assert!(place.contains("tidegate.toml:") && place.contains("www: Not a directory"), "{place}");
}

#[tokio::test]
async fn a_time_that_a_build_sets_does_not_hide_a_new_version() {
    let proxy = root("").file("www/a.js", "AAAA").start().await;
    let path = proxy.folder().join("www/a.js");
    for time in [0, 1, 315_532_800, 1_600_000_000] {
        fs::write(&path, "AAAA").expect("a writable file");
        set_time(&path, time);
        let before = proxy.get("/a.js").await;
        let (tag, date) = (before.header("etag").to_owned(), before.header("last-modified").to_owned());
        fs::write(&path, "BBBB").expect("a writable file");
        set_time(&path, time);
        proxy.ask("GET", "/a.js", &[("if-none-match", &tag)]).await.assert_is(200, "BBBB");
        proxy.ask("GET", "/a.js", &[("if-range", &tag), ("range", "bytes=2-3")]).await.assert_is(200, "BBBB");
        assert_eq!(date.is_empty(), time < 1_000_000_000, "{time}: {date}");
        let since = "Tue, 01 Jan 1980 00:00:00 GMT";
        assert_eq!(proxy.ask("GET", "/a.js", &[("if-modified-since", since)]).await.status, 200);
    }
}

#[tokio::test]
async fn behind_a_rewrite_the_slash_is_added_to_what_the_client_asked_for() {
    let rewrite = "[config]\nrules = [{ path = '^/manual(/.*)?$', to = '/docs-v2$1' }]";
    let proxy = root("")
        .file("www/docs-v2/index.html", "index")
        .file("www/docs-v2/deep/index.html", "deep")
        .plugin("1-rewrite", stock("rewrite"), rewrite)
        .start()
        .await;
    for (asked, there) in
        [("/manual", "./manual/"), ("/manual/deep?x=1", "./deep/?x=1"), ("/docs-v2", "./docs-v2/")]
    {
        let answer = proxy.get(asked).await;
        assert_eq!((answer.status, answer.header("location")), (308, there), "{asked}");
    }
    proxy.get("/manual/").await.assert_is(200, "index");
}

#[tokio::test]
async fn pages_for_what_is_missing_and_media_types_are_the_operators() {
    let proxy = root(
        "fallback = \"app.html\"\nfallback-for = \"all\"\ncharset = \"iso-8859-1\"\n\
         media-types = { geojson = \"application/geo+json\", TXT = \"text/plain; charset=utf-8\" }\n\
         [files.docs]\nroot = \"docs\"\nnot-found = \"404.html\"\ncharset = \"none\"",
    )
    .file("www/app.html", "app")
    .file("www/map.geojson", "{}")
    .file("www/a.txt", "a")
    .file("docs/404.html", "not here")
    .file("docs/a.txt", "a")
    .plugin("1-router", stock("router"), "[config]\nrules = [{ hosts = [\"docs.test\"], to = \"docs\" }]")
    .start()
    .await;
    proxy.get("/gone.js").await.assert_is(200, "app");
    for (target, kind) in [
        ("/gone.js", "text/html; charset=iso-8859-1"),
        ("/map.geojson", "application/geo+json"),
        ("/a.txt", "text/plain; charset=utf-8"),
    ] {
        assert_eq!(proxy.get(target).await.header("content-type"), kind, "{target}");
    }
    let docs = [("host", "docs.test"), ("if-none-match", "*"), ("range", "bytes=0-1")];
    let answer = proxy.ask("GET", "/gone", &docs).await;
    answer.assert_is(404, "not here");
    assert_eq!((answer.header("content-type"), answer.header("etag")), ("text/html", ""));
    assert_eq!(proxy.ask("HEAD", "/gone", &docs).await.status, 404);
}
