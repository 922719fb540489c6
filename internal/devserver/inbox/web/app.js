// Keeps the page in step with the server: every "change" event reads the
// overview and the conversation that is open again.
"use strict";

const PAGE = 200;
const $ = (id) => document.getElementById(id);
const state = { overview: null, session: null, users: new Map(), groups: new Map(), drawn: null, read: new Map() };

const names = {
  user: (id) => state.users.get(id)?.nick || `User ${id}`,
  group: (id) => state.groups.get(id)?.name || `Group ${id}`,
};

async function get(path, options) {
  const response = await fetch(path, { headers: { Accept: "application/json" }, ...options });
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error || `HTTP ${response.status}`);
  return response.json();
}

/** parties returns the user ids of a single chat's session. */
function parties(session) {
  return session.startsWith("user:") ? session.split(":").slice(1).map(Number) : [];
}

function entry(session, id, name, detail, count, kind) {
  const link = el("a", "entry", avatar(id, name, kind), el("span", "name", name, el("small", "", detail)),
    el("span", count ? "count" : "count none", String(count)));
  link.href = `#${session}`;
  link.dataset.session = session;
  link.dataset.filter = `${name} ${detail} ${id}`.toLowerCase();
  return el("li", "", link);
}

function drawSide() {
  const o = state.overview;
  const byName = (a, b) => a.id - b.id;
  $("groups").replaceChildren(...[...o.groups].sort(byName).map((g) =>
    entry(`group:${g.id}`, g.id, g.name, `group ${g.id} · ${g.members.length} members`, g.messages, "group")));
  $("users").replaceChildren(...o.users.map((u) => entry(`user:${u.id}`, u.id, u.nick, `user ${u.id}`, u.messages)));
  const unknownUsers = new Map();
  for (const c of o.conversations) {
    for (const id of parties(c.session)) {
      if (!state.users.has(id)) unknownUsers.set(id, (unknownUsers.get(id) || 0) + c.messages);
    }
  }
  $("unknown-users").replaceChildren(...[...unknownUsers].map(([id, n]) => entry(`user:${id}`, id, `User ${id}`, "no such user", n, "unknown")));
  $("unknown-users-section").hidden = unknownUsers.size === 0;
  $("all-count").textContent = o.messages;
  $("total").textContent = o.messages === 1 ? "1 message" : `${o.messages} messages`;
  drawFaults(o.faults);
  markCurrent();
  filter();
}

function drawFaults({ faults }) {
  $("faults").hidden = faults.length === 0;
  $("faults-summary").textContent = faults.length === 1 ? "1 fault armed" : `${faults.length} faults armed`;
  $("faults-list").replaceChildren(...faults.map(({ fault, fired }) => {
    const { id, kind, ...rest } = fault;
    const detail = Object.entries(rest).map(([k, v]) => `${k}=${v}`).join(" ");
    return el("li", "", el("strong", "", kind), el("span", "badge", `fired ${fired}×`), el("small", "", detail));
  }));
}

/** markCurrent marks the side's entry of the open session, or of its user. */
function markCurrent() {
  const base = state.session?.split(":").slice(0, 2).join(":");
  for (const link of document.querySelectorAll("a.entry")) {
    if (link.dataset.session === base) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function filter() {
  const wanted = $("filter").value.trim().toLowerCase();
  for (const link of document.querySelectorAll(".lists li > a.entry")) {
    link.parentElement.hidden = wanted !== "" && !link.dataset.filter.includes(wanted);
  }
}

function drawHead() {
  const session = state.session;
  const [kind, a, b] = session.split(":");
  const id = Number(a);
  let title = "All messages", subtitle = "Everything that is stored, in the order of storing";
  const chips = [];
  if (kind === "group") {
    const members = state.groups.get(id)?.members || [];
    title = `# ${names.group(id)}`;
    subtitle = members.length ? `Members: ${members.map(names.user).join(", ")}` : "No members";
  } else if (kind === "user") {
    title = b ? `${names.user(id)} ↔ ${names.user(Number(b))}` : names.user(id);
    subtitle = state.users.has(id) ? `user ${id} · ${state.users.get(id).name}` : "No such user: nobody will read these";
    chips.push([`user:${id}`, "All chats"]);
    for (const c of state.overview.conversations) {
      const both = parties(c.session);
      if (!both.includes(id)) continue;
      const peer = both[0] === id ? both[1] : both[0];
      chips.push([`user:${id}:${peer}`, `${names.user(peer)} · ${c.messages}`]);
    }
    if (b && !chips.some(([s]) => s === session)) chips.push([session, names.user(Number(b))]);
    for (const g of state.overview.groups) {
      if (g.members.includes(id)) chips.push([`group:${g.id}`, `# ${g.name} · ${g.messages}`]);
    }
  }
  $("title").textContent = title;
  $("subtitle").textContent = subtitle;
  document.title = `${title} · TeamTalk inbox`;
  $("chips").hidden = chips.length === 0;
  $("chips").replaceChildren(...chips.map(([target, text]) => {
    const chip = el("a", "chip", text);
    chip.href = `#${target}`;
    if (target === session) chip.setAttribute("aria-current", "true");
    return chip;
  }));
}

/** readAs has a user read what is shown, as a client would on opening it. */
async function readAs(user, session, last) {
  try {
    await get("/api/reads", { method: "POST", body: JSON.stringify({ user, session }) });
  } catch (error) {
    $("failure").textContent = `Cannot read as ${names.user(user)}: ${error.message}`;
    $("failure").hidden = false;
    return;
  }
  state.read.set(`${session} ${user}`, last);
  refresh();
}

/** drawReaders offers those who can read what is shown: two users, or a group's members. */
function drawReaders(messages) {
  const session = state.session, last = messages.at(-1)?.row;
  const [kind, id] = session.split(":");
  const both = parties(session);
  const hasRead = (user) => messages.at(-1).readBy?.includes(user) || state.read.get(`${session} ${user}`) === last;
  let users = kind === "group" ? state.groups.get(Number(id))?.members || [] : both.length === 2 ? both : [];
  if (last === undefined) users = [];
  const all = users.map((user) => ({ user, name: names.user(user), done: hasRead(user) }));
  const key = JSON.stringify([session, last, all]);
  if ($("readers").dataset.key === key) return; // what is there may have the focus
  $("readers").dataset.key = key;
  $("readers").hidden = all.length === 0;
  $("readers").replaceChildren(...all.map(({ user, name, done }) => {
    const button = el("button", done ? "chip done" : "chip", done ? `Read by ${name}` : `Read as ${name}`);
    button.type = "button";
    button.addEventListener("click", () => readAs(user, session, last));
    return button;
  }));
}

/** copyKey is equal for what looks like one message stored twice. */
function copyKey(m) {
  return m.token ? `${m.session} ${m.token}` : JSON.stringify([m.session, m.from, m.createTime, m.text, m.type]);
}

function drawMessages(messages) {
  const session = state.session;
  const copies = new Map();
  for (const m of messages) {
    if (!m.undecryptable) copies.set(copyKey(m), (copies.get(copyKey(m)) || 0) + 1);
  }
  const recipient = session === "all" || session.split(":").length === 2 && session.startsWith("user:");
  // What is drawn already stays, so that reading and selecting are not disturbed.
  const old = new Map();
  if (state.drawn === session) {
    for (const item of $("messages").children) if (item.dataset.key) old.set(item.dataset.key, item);
  }
  const items = [];
  let today = "";
  for (const m of messages) {
    const of = new Date(m.createTime * 1000).toDateString();
    if (of !== today) items.push(day(m));
    today = of;
    const n = copies.get(copyKey(m)) || 1;
    const key = JSON.stringify([m.row, m.routed, m.readBy, n, names.user(m.from), names.user(m.to)]);
    items.push(old.get(key) || message(m, names, { recipient, copies: n, key }));
  }
  const box = $("scroll");
  const atEnd = state.drawn !== session || box.scrollHeight - box.scrollTop - box.clientHeight < 80;
  $("messages").replaceChildren(...items);
  $("messages").hidden = items.length === 0;
  $("older").hidden = messages.length < PAGE;
  $("older").textContent = `The last ${PAGE} messages are shown. The rest is at /api/messages?session=${session}`;
  $("empty").hidden = items.length > 0;
  const first = state.overview.messages === 0;
  $("empty-title").textContent = first ? "No messages yet" : "No messages here";
  $("empty-start").hidden = !first;
  $("empty-here").hidden = first;
  state.drawn = session;
  if (atEnd) box.scrollTop = box.scrollHeight;
}

let running = false, again = false, greeted = false;

/** refresh reads everything that is shown; calls while it runs are made up for once. */
async function refresh() {
  if (running) { again = true; return; }
  running = true;
  try {
    do {
      again = false;
      const session = state.session;
      const [overview, messages] = await Promise.all([
        get("/api/overview"), get(`/api/messages?limit=${PAGE}&session=${encodeURIComponent(session)}`),
      ]);
      if (session !== state.session) { again = true; continue; }
      state.overview = overview;
      state.users = new Map(overview.users.map((u) => [u.id, u]));
      state.groups = new Map(overview.groups.map((g) => [g.id, g]));
      drawSide();
      drawHead();
      drawReaders(messages);
      drawMessages(messages);
      // A phone shows the list first, a newcomer what to do first.
      if (!greeted && !location.hash && overview.messages === 0) document.body.dataset.view = "conversation";
      greeted = true;
      $("failure").hidden = true;
    } while (again);
  } catch (error) {
    $("failure").textContent = `Cannot read messages: ${error.message}`;
    $("failure").hidden = false;
  } finally {
    running = false;
  }
}

function live(name, text) {
  $("live").dataset.state = name;
  $("live-text").textContent = text;
}

/** navigate opens what the address names; without a name, the list on a phone. */
function navigate() {
  const wanted = decodeURIComponent(location.hash.slice(1));
  const known = /^(all|user:\d+(:\d+)?|group:\d+)$/.test(wanted);
  if (wanted === "conversation" && state.session) return; // the skip link
  document.body.dataset.view = known ? "conversation" : "list";
  state.session = known ? wanted : "all";
  markCurrent();
  refresh();
}

$("filter").addEventListener("input", filter);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== $("filter") && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    $("filter").focus();
  }
});
window.addEventListener("hashchange", navigate);
navigate();

const events = new EventSource("/api/events");
events.addEventListener("open", () => live("live", "Live"));
events.addEventListener("error", () => live("lost", "Reconnecting"));
events.addEventListener("change", refresh);
