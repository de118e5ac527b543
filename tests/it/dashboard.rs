//! The dashboard in a real browser, where there is one.

use serde_json::{Value, json};
use tidegate_tests::{Browser, Proxy, Upstream, assert_values, guest, stock, until};

/// What would change the page if it were markup.
const MARKUP: &str = "<img src=x onerror=document.title=1>";

/// Text and ground of an element, as far as WCAG 2.1 §1.4.3 goes: the ratio of their luminances.
const CONTRAST: &str = "(selector) => {
  const light = (color) => {
    const parts = color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255);
    const [r, g, b] = parts.map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const element = document.querySelector(selector);
  let ground = element;
  while (getComputedStyle(ground).backgroundColor === 'rgba(0, 0, 0, 0)') ground = ground.parentElement;
  const [a, b] = [light(getComputedStyle(element).color), light(getComputedStyle(ground).backgroundColor)];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}";

async fn until_shown(browser: &mut Browser, text: &str) {
    let asked = format!("document.body?.innerText.includes({}) ?? false", json!(text));
    until(text, async || browser.evaluate(&asked).await == true).await;
}

#[tokio::test]
async fn it_holds_in_a_browser() {
    let Some(mut browser) = Browser::start().await else { return };
    let (app, dead) = (Upstream::echo("app").await, "127.0.0.1:1");
    let lines = format!("servers = [\"{}\", \"{dead}\"]\ncache = \"pages\"", app.server());
    let proxy = Proxy::with_app(&lines)
        .section("[cache.pages]")
        .plugin("10-stamp", guest("stamp"), "[config]\nvalue = \"x\"")
        .plugin("20-router", stock("router"), &format!("on-error = \"skip\"\n{} = 1", json!(MARKUP)))
        .start()
        .await;
    proxy.get("/").await;
    proxy.ask("GET", "/a-failure", &[("expect", "miracles")]).await;
    let origin = format!("http://{}", proxy.address("admin"));
    browser.open(&format!("{origin}/")).await;
    for text in ["10-stamp", "/a-failure", &app.server(), dead, "refused", "not ready", "pages"] {
        until_shown(&mut browser, text).await;
    }

    // What comes from elsewhere is text.
    until_shown(&mut browser, MARKUP).await;
    assert_eq!(browser.evaluate("document.images.length").await, 0);
    assert_eq!(browser.evaluate("document.title").await, "tidegate");

    // Everything that moves can be reached by the keyboard, and is seen to be.
    let mut reached = Vec::new();
    for _ in 0..20 {
        browser.press("Tab", 9).await;
        let focus = "({ what: document.activeElement.className || document.activeElement.id, \
                        outline: getComputedStyle(document.activeElement).outlineStyle })";
        reached.push(browser.evaluate(focus).await);
    }
    let of = |name: &str| reached.iter().filter(|focus| focus["what"] == name).collect::<Vec<_>>();
    assert!(!of("skip").is_empty(), "{reached:?}");
    let regions = browser.evaluate("document.querySelectorAll('.scroll').length").await;
    assert!(of("scroll").len() as u64 >= regions.as_u64().expect("a number"), "{reached:?}");
    assert!(of("scroll").iter().all(|focus| focus["outline"] == "solid"), "{reached:?}");

    // As wide as a telephone, and not wider; in light and in dark.
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        // In between colors are others for a moment.
        let still = json!({ "name": "prefers-reduced-motion", "value": "reduce" });
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }, still]);
        browser.call("Emulation.setEmulatedMedia", json!({ "features": features })).await;
        for width in [360, 1280] {
            let metrics =
                json!({ "width": width, "height": 740, "deviceScaleFactor": 1, "mobile": width < 600 });
            browser.call("Emulation.setDeviceMetricsOverride", metrics).await;
            let wide = browser.evaluate("document.documentElement.scrollWidth").await;
            assert!(wide.as_u64().is_some_and(|wide| wide <= width), "{scheme} {width}: {wide}");
        }
        grounds.push(browser.evaluate("getComputedStyle(document.body).backgroundColor").await);
        for selector in
            ["body", "h2", ".quiet", "td", "dt", ".badge.bad", ".badge.good", ".reasons li", "#about"]
        {
            let contrast = browser.evaluate(&format!("({CONTRAST})({})", json!(selector))).await;
            assert!(contrast.as_f64().is_some_and(|ratio| ratio >= 4.5), "{scheme} {selector}: {contrast}");
        }
    }
    assert_ne!(grounds[0], grounds[1]);

    // It asks its own origin and nobody else, and nothing goes wrong.
    let asked = browser.events("Network.requestWillBeSent");
    let urls: Vec<&str> = asked.iter().filter_map(|event| event["request"]["url"].as_str()).collect();
    assert!(urls.iter().any(|url| url.ends_with("/api/v1/events")), "{urls:?}");
    let outside = |url: &&&str| !url.starts_with(&format!("{origin}/")) && !url.starts_with("data:");
    assert_eq!(urls.iter().find(outside), None);
    assert_eq!(browser.events("Runtime.exceptionThrown"), Vec::<&Value>::new());
    let logged =
        browser.events("Log.entryAdded").into_iter().filter(|event| event["entry"]["level"] == "error");
    assert_eq!(logged.collect::<Vec<_>>(), Vec::<&Value>::new());
    let told =
        browser.events("Runtime.consoleAPICalled").into_iter().filter(|event| event["type"] == "error");
    assert_eq!(told.collect::<Vec<_>>(), Vec::<&Value>::new());
}

#[tokio::test]
async fn a_page_of_another_origin_gets_nothing_by_a_browser() {
    let Some(mut browser) = Browser::start().await else { return };
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let admin = proxy.address("admin");
    // A page that the proxy's listener serves: another origin on the same machine.
    browser.open(&format!("http://{}/", proxy.address("web"))).await;
    until_shown(&mut browser, "\"method\"").await;
    let attack = format!(
        "(async () => {{
          const all = (await (await fetch('/')).text()).length > 0;
          const outcomes = {{ all }};
          const tries = {{
            read: ['http://{admin}/api/v1/config', {{}}],
            post: ['http://{admin}/api/v1/drain', {{ method: 'POST' }}],
            simple: ['http://{admin}/api/v1/drain', {{ method: 'POST', mode: 'no-cors' }}],
            json: ['http://{admin}/api/v1/log', {{ method: 'PUT', headers: {{ 'content-type': 'application/json' }}, body: '{{\"level\":\"trace\"}}' }}],
          }};
          for (const [name, [url, how]] of Object.entries(tries)) {{
            outcomes[name] = await fetch(url, how).then((answer) => answer.type === 'opaque' ? 'opaque' : 'read', () => 'refused');
          }}
          return outcomes;
        }})()"
    );
    let outcomes = browser.evaluate(&attack).await;
    assert_values(&outcomes, json!({ "all": true, "read": "refused", "post": "refused", "json": "refused" }));
    // Some browsers keep pages from their own machine, others only from the answer.
    assert_ne!(outcomes["simple"], "read");
    assert_eq!(proxy.admin("GET", "/readyz").await.status, 200, "nobody had it drain");
    assert_eq!(proxy.admin("GET", "/api/v1/log").await.json(), json!({ "level": "info" }));
}
