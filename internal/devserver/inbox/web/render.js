// Turns messages into elements. Texts were written by anybody: they reach the
// page as text nodes alone, and links only where they are http or https.
"use strict";

const IMAGE = /&\$#@~\^@\[\{:([\s\S]*?):\}\]&\$~@#@/g;
const COLOURS = 8;
const MANY = 3; // readers

/** el creates an element with a class, and text or children. */
function el(tag, className, ...children) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  for (const child of children) {
    if (child !== null && child !== undefined) e.append(child);
  }
  return e;
}

function initials(name) {
  const words = name.trim().split(/[\s._-]+/).filter(Boolean);
  if (words.length === 0) return "?";
  if (/\p{Script=Han}/u.test(name)) return [...name].slice(-2).join("");
  return words.slice(0, 2).map((w) => [...w][0].toUpperCase()).join("");
}

function avatar(id, name, kind) {
  const e = el("span", `avatar c${id % COLOURS} ${kind || ""}`, kind === "group" ? "#" : initials(name));
  e.setAttribute("aria-hidden", "true");
  return e;
}

function badge(className, text, title) {
  const e = el("span", `badge ${className}`, text);
  if (title) e.title = title;
  return e;
}

/** safeURL returns the address if a browser may follow it, else null. */
function safeURL(text) {
  try {
    const url = new URL(text);
    return url.protocol === "http:" || url.protocol === "https:" ? url : null;
  } catch {
    return null;
  }
}

function picture(address) {
  const url = safeURL(address);
  const mark = el("img", "picture-mark");
  mark.src = "/picture.svg";
  mark.alt = "";
  if (!url) {
    return el("span", "picture refused", mark, el("span", "", "Image with an address that is not http(s): ", el("code", "", address)));
  }
  const link = el("a", "picture", mark, el("span", "", el("strong", "", "Image"), el("span", "address", address)));
  link.href = url.href;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  return link;
}

/** pretty returns indented JSON if the text is an object or an array, else null. */
function pretty(text) {
  if (!/^\s*[[{]/.test(text)) return null;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return null;
  }
}

function content(m) {
  const box = el("div", "content");
  if (m.type.endsWith("Audio")) {
    box.append(el("span", "audio", el("span", "play", "▶"), `Audio, ${m.audioSeconds || 0} s`));
    return box;
  }
  if (m.undecryptable) {
    box.append(el("p", "undecryptable", el("strong", "", "Cannot be decrypted"),
      ` with this server's key. Clients would show nonsense: check the key (${m.rawBase64Length} characters stored).`));
    return box;
  }
  const json = pretty(m.text);
  if (json !== null) {
    const pre = el("pre", "json", el("code", "", json));
    pre.tabIndex = 0;
    box.append(pre);
    return box;
  }
  let end = 0;
  const text = (part) => { if (part) box.append(el("p", "text", part)); };
  for (const match of m.text.matchAll(IMAGE)) {
    text(m.text.slice(end, match.index).trim());
    box.append(picture(match[1]));
    end = match.index + match[0].length;
  }
  const rest = m.text.slice(end);
  text(end ? rest.trim() : rest);
  if (!box.firstChild) box.append(el("p", "text faint", "(empty text)"));
  return box;
}

const timeFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat(undefined, { weekday: "long", year: "numeric", month: "long", day: "numeric" });

function routedBadge(m) {
  if (m.routed === 0) return badge("waiting", "At next sync", "Stored, not relayed by the router: clients see it at their next sync");
  if (m.routed === 1) return badge("pushed", "Pushed", "The router has relayed it to open clients");
  return badge("repeated", `Pushed ${m.routed}×`, "Relayed more than once: open chats on iOS and Android show it as often");
}

/** readBadge says who has read a message, by name if they are few. */
function readBadge(m, names) {
  const readers = (m.readBy || []).map(names.user);
  if (readers.length === 0) return badge("unread", "Unread", "Nobody but its sender has read it since teamtalk-dev was started");
  const who = readers.length > MANY ? `${readers.length} users` : readers.join(", ");
  return badge("read", `✓ Read by ${who}`, readers.join(", "));
}

/** message returns the list item of one message; names turns ids into names. */
function message(m, names, options) {
  const when = new Date(m.createTime * 1000);
  const time = el("time", "", timeFormat.format(when));
  time.dateTime = when.toISOString();
  time.title = `Sent ${when.toISOString()}\nStored ${m.storedAt}`;
  const who = el("div", "who", el("strong", "", names.user(m.from)));
  if (options.recipient) {
    const to = m.session.startsWith("group:") ? `# ${names.group(m.to)}` : names.user(m.to);
    who.append(el("span", "to", "→ ", to));
  }
  who.append(time);
  const marks = el("div", "marks", routedBadge(m), readBadge(m, names));
  if (options.copies > 1) marks.append(badge("repeated", `Stored ${options.copies}×`, "The same message is stored more than once in this conversation"));
  if (m.undecryptable) marks.append(badge("broken", "Undecryptable"));
  marks.append(el("span", "meta", `msg_id ${m.id === 0xffffffff ? "0xFFFFFFFF" : m.id}`));
  if (m.token) {
    const token = el("span", "meta token", `token ${m.token.slice(0, 8)}…`);
    token.title = `Delivery token ${m.token}`;
    marks.append(token);
  }
  const item = el("li", "message", avatar(m.from, names.user(m.from)), el("div", "body", who, content(m), marks));
  item.dataset.key = options.key;
  return item;
}

function day(m) {
  const e = el("li", "day", el("span", "", dayFormat.format(new Date(m.createTime * 1000))));
  return e;
}
