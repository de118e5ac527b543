// What the proxy tells once a second, shown. Names and messages may be anybody's: they are text, never markup.
"use strict";

const $ = (id) => document.getElementById(id);

function element(name, text, classes) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  if (classes) made.className = classes;
  return made;
}

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const units = ["", "K", "M", "G", "T"];

function short(value, unit = "") {
  let power = 0;
  while (value >= 10000 && power < units.length - 1) { value /= 1000; power += 1; }
  return number.format(value) + (power || unit ? "\u202f" : "") + units[power] + unit;
}

function duration(micros) {
  if (micros === null || micros === undefined) return "–";
  if (micros < 1000) return `${micros}\u202fµs`;
  if (micros < 1e6) return `${number.format(micros / 1000)}\u202fms`;
  return `${number.format(micros / 1e6)}\u202fs`;
}

function clock(seconds) {
  const time = element("time", new Date(seconds * 1000).toLocaleTimeString([], { hour12: false }));
  time.dateTime = new Date(seconds * 1000).toISOString();
  return time;
}

const moods = { up: "good", serving: "good", down: "bad", refused: "bad", quarantined: "bad", failing: "bad", ejected: "warn", draining: "warn", disabled: "warn" };
const badge = (state) => element("span", state, `badge ${moods[state] || ""}`);

function cell(content, classes) {
  const made = element("td", undefined, classes);
  made.append(content);
  return made;
}

const figure = (text, classes = "") => cell(text, `number ${classes}`);

function name(text, more) {
  const made = element("th", text);
  made.scope = "row";
  if (more) made.append(element("span", more, "small quiet"));
  return made;
}

function row(...cells) {
  const made = document.createElement("tr");
  made.append(...cells);
  return made;
}

function empty(text) {
  return element("p", text, "empty");
}

// Only what changed is put in place, so that who reads or has the focus is not disturbed.
const shown = new Map();
function show(id, value, make) {
  const key = JSON.stringify(value);
  if (shown.get(id) === key) return;
  shown.set(id, key);
  $(id).replaceChildren(...make(value));
}

function listeners(all) {
  return all.map((one) => row(
    name(one.name), cell(one.address || "–", "wide small"), figure(short(one.rate)), figure(short(one.connections)),
    figure(short(one["in-flight"])), figure(short(one.refused), "wide"),
  ));
}

function server(one) {
  const failure = one["last-failure"];
  const told = failure ? [clock(failure.at), ` ${failure.failure}`] : ["–"];
  const last = element("td", undefined, "wide small");
  last.append(...told);
  return row(
    name(one.address), cell(badge(one.state)), figure(short(one.rate)), figure(short(one["in-flight"]), "wide"),
    figure(duration(one["p50-us"]), "wide"), figure(duration(one["p99-us"])), figure(short(one.failures), "wide"), last,
  );
}

const serverColumns = [["Server"], ["State"], ["Requests/s", "number"], ["In flight", "number wide"], ["p50", "number wide"], ["p99", "number"], ["Failures", "number wide"], ["Last failure", "wide"]];

function upstream(one) {
  const made = element("div", undefined, "upstream");
  const line = element("div", undefined, "line");
  const facts = [
    `${short(one.rate)} requests/s`, `${short(one.errors)} 5xx/s`, `p50 ${duration(one["p50-us"])}`, `p99 ${duration(one["p99-us"])}`,
    `${one["in-flight"]} in flight`, `${one.idle} idle connections`,
  ];
  if (one.queued) facts.push(`${one.queued} queued`);
  if (one.retries) facts.push(`retries ${short(one.retries)}/s`);
  if (one.ejections) facts.push(`ejections ${one.ejections}`);
  line.append(element("h3", one.name), ...facts.map((fact) => element("span", fact)));
  const table = element("table");
  const head = element("tr");
  head.append(...serverColumns.map(([text, classes]) => {
    const made = element("th", text, classes);
    made.scope = "col";
    return made;
  }));
  const thead = element("thead");
  thead.append(head);
  const body = element("tbody");
  body.append(...one.servers.map(server));
  table.append(thead, body);
  const scroll = element("div", undefined, "scroll");
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", `Servers of ${one.name}`);
  scroll.append(table);
  made.append(line, one.servers.length ? scroll : empty("It has no server."));
  return made;
}

function caches(all) {
  return all.map((one) => row(
    name(one.name), figure(short(one.urls)), figure(short(one.memory, "B")), figure(short(one.disk, "B")), figure(short(one.stored), "wide"),
    figure(short(one.evicted), "wide"), figure(short(one.purged), "wide"), figure(short(one["disk-failures"]), `wide${one["disk-failures"] ? " bad-text" : ""}`),
  ));
}

function policies(all) {
  if (!all.length) {
    const none = element("td");
    none.colSpan = 7;
    none.append(empty("The directory has no policy."));
    return [row(none)];
  }
  const time = all.reduce((sum, one) => sum + one["us-per-second"], 0);
  return all.flatMap((one) => {
    const counts = (words) => Object.entries(words).map(([word, count]) => `${word} ${short(count)}`).join(", ") || "–";
    const share = time ? one["us-per-second"] / time : 0;
    const bar = element("progress");
    bar.max = 1;
    bar.value = share;
    bar.setAttribute("aria-label", `Share of the time of all policies`);
    const spent = element("td", undefined, "share");
    spent.append(bar, element("span", `${Math.round(share * 100)} %`, "small quiet"));
    const notes = [];
    if (one["last-good"]) notes.push("an older version serves");
    if (one.error) notes.push(one.error);
    if (one.shadow) notes.push(`shadow: ${one.shadow.differed} of ${one.shadow.compared} differ`);
    const facts = row(
      name(one.name), cell(badge(one.state)), figure(short(one.calls)), spent, cell(counts(one.verdicts), "wide small"),
      cell(counts(one.faults), `wide small${Object.keys(one.faults).length ? " bad-text" : ""}`), figure(one.generation ?? "–", "wide"),
    );
    if (!notes.length) return [facts];
    facts.className = "has-note";
    const note = element("td", undefined, "note");
    note.colSpan = 7;
    note.append(...notes.map((text) => element("div", text, "small quiet")));
    return [facts, row(note)];
  });
}

function failures(all) {
  if (!all.length) return [empty("None since the start.")];
  return all.slice().reverse().slice(0, 12).map((one) => {
    const made = element("li");
    made.append(clock(one.at), element("strong", one.failure));
    const where = [one.method, one.path].filter(Boolean).join(" ");
    if (where) made.append(` ${where}`);
    const more = [one.status && `status ${one.status}`, `listener ${one.listener}`, one.route && `to ${one.route}`, one.server, `id ${one.id}`];
    made.append(element("span", more.filter(Boolean).join(" · "), "more"));
    return made;
  });
}

function reloads(all) {
  return all.slice().reverse().slice(0, 8).map((one) => {
    const made = element("li");
    made.append(clock(one.at), element("span", one.result, `badge ${one.problems.length ? "bad" : "good"}`), ` generation ${one.generation}`);
    one.problems.forEach((problem) => made.append(element("span", problem, "more")));
    return made;
  });
}

function lines(id, series, points) {
  const svg = $(id);
  const top = Math.max(1e-9, ...series.flatMap(({ key }) => points.map((point) => point[key] || 0)));
  svg.replaceChildren(...series.map(({ key, classes }) => {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    line.setAttribute("class", classes);
    // The latest at the right end; five minutes at least.
    const step = 360 / Math.max(30, points.length - 1);
    const across = (at) => (360 - (points.length - 1 - at) * step).toFixed(1);
    line.setAttribute("points", points.map((point, at) => `${across(at)},${(97 - ((point[key] || 0) / top) * 92).toFixed(1)}`).join(" "));
    return line;
  }));
  return top;
}

let points = [];

function charts() {
  if (points.length < 2) return;
  const rate = lines("rates", [{ key: "rate", classes: "rate" }, { key: "errors", classes: "errors" }], points);
  const time = lines("times", [{ key: "p99-us", classes: "p99" }, { key: "p50-us", classes: "p50" }], points);
  $("rates-top").textContent = `top: ${rate > 0.01 ? short(rate) : 0}/s`;
  $("times-top").textContent = `top: ${time > 1 ? duration(Math.round(time)) : "–"}`;
}

function state(text, mood) {
  const badge = $("state");
  if (badge.textContent !== text) badge.textContent = text;
  badge.className = `badge ${mood}`;
}

function tell(event) {
  const tiles = [
    ["Requests/s", short(event.rate)], ["5xx/s", short(event.errors)], ["p50", duration(event["p50-us"])], ["p99", duration(event["p99-us"])],
    ["In flight", short(event["in-flight"])], ["Connections", short(event.connections)], ["Sent", short(event.sent, "B/s")], ["Received", short(event.received, "B/s")],
  ];
  show("tiles", tiles, (all) => all.map(([term, value]) => {
    const made = element("div");
    made.append(element("dt", term), element("dd", value));
    return made;
  }));
  show("reasons", event.reasons, (all) => all.map((reason) => element("li", reason)));
  show("listeners", event.listeners, listeners);
  show("upstreams", event.upstreams, (all) => (all.length ? all.map(upstream) : [empty("There is none.")]));
  $("caching").hidden = !event.caches;
  if (event.caches) {
    const { hits, misses, passed, all } = event.caches;
    const asked = hits + misses + passed;
    const share = asked ? `${Math.round((hits / asked) * 100)} % of requests answered from them; ` : "";
    $("met").textContent = `${share}hits ${short(hits)}/s, misses ${short(misses)}/s, not for a cache ${short(passed)}/s`;
    show("caches", all, caches);
  }
  show("policies", event.policies, policies);
  show("failures", event["last-failures"], failures);
  if (event.draining) state("draining", "warn");
  else if (event.reasons.length) state("not ready", "bad");
  else state("ready", "good");
}

async function ask(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (answer.status === 401) throw new Error("401");
  return answer.json();
}

let lastReload = null;

async function about() {
  const status = await ask("api/v1/status");
  $("about").textContent = `${status.version} · generation ${status.generation} · up ${Math.floor(status["uptime-s"] / 60)} min`;
}

async function history() {
  points = (await ask("api/v1/history")).points;
  charts();
}

async function open() {
  try {
    await Promise.all([about(), history(), ask("api/v1/reloads").then((all) => show("reloads", all, reloads))]);
  } catch (error) {
    if (error.message === "401") {
      $("login").hidden = false;
      $("main").hidden = true;
      state("locked", "warn");
      $("token").focus();
    } else {
      state("out of reach", "bad");
      setTimeout(open, 2000);
    }
    return;
  }
  $("login").hidden = true;
  $("main").hidden = false;
  const source = new EventSource("api/v1/events");
  source.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    tell(event);
    const reload = JSON.stringify(event.reload);
    if (reload !== lastReload) {
      lastReload = reload;
      about().catch(() => {});
      ask("api/v1/reloads").then((all) => show("reloads", all, reloads)).catch(() => {});
    }
  };
  source.onerror = () => {
    state("out of reach", "bad");
    // It comes back by itself, unless it was refused.
    if (source.readyState === EventSource.CLOSED) setTimeout(open, 2000);
  };
  clearInterval(open.timer);
  open.timer = setInterval(() => { history().catch(() => {}); about().catch(() => {}); }, 10000);
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch("api/v1/session", {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ token: $("token").value }),
  });
  $("wrong").textContent = answer.ok ? "" : "This is not the token.";
  if (answer.ok) { $("token").value = ""; open(); }
});

open();
