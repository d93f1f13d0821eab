// The run page: follows a run's log over a socket, else by polling, and draws it.
// Untrusted text enters the page as text nodes only; HTML goes into sandboxed frames.

import { Terminal, ansi, element } from "./terminal.js";

const config = JSON.parse(document.getElementById("djsci-config").textContent);
const $ = (id) => document.getElementById(id);
const clockOffset = config.now - Date.now() / 1000;
const now = () => Date.now() / 1000 + clockOffset;

// ---------------------------------------------------------------- what a run shows

const view = { state: config.state, last: 0, started: config.started, outputs: new Map(), clearing: null };
const terminal = new Terminal($("log"), (count) => {
  $("count").textContent = `${count.toLocaleString()} line${count === 1 ? "" : "s"}`;
});

function json(text) { // numbers too large for JavaScript stay what they were
  const keep = (_, value, context) =>
    typeof value === "number" && JSON.rawJSON && context?.source && /^-?\d{16,}$/.test(context.source) ? JSON.rawJSON(context.source) : value;
  return JSON.parse(text, keep);
}
const pretty = (value) => JSON.stringify(value, null, 2);

const handlers = {
  status(event) {
    view.state = event.state;
    if (event.state === "running") view.started ??= event.t;
  },
  stream(event) { terminal.write(event.name, event.text, event.name === "stderr" ? "stderr" : ""); },
  log(event) { terminal.note(event.level === "warning" ? "warning" : event.level === "error" ? "bad" : "note", `[${event.level}] ${event.message}`); },
  cell(event) {
    view.cell = event.state === "start" ? `cell ${event.index} of ${event.count}` : "";
    if (event.state === "start" && event.count > 1) terminal.note("note", `── cell ${event.index} ──`);
  },
  display_data: showOutput,
  execute_result: showOutput,
  update_display_data(event) {
    const old = view.outputs.get(event.display_id);
    if (old) old.replaceChildren(drawOutput(event));
  },
  clear_output(event) { if (event.wait) view.clearing = event; else clearOutputs(event); },
  progress(event) {
    const bar = $("progress").querySelector("progress");
    const value = event.value ?? (event.total ? event.n / event.total : null);
    if (value === null || value === undefined) bar.removeAttribute("value"); else bar.value = value;
    const share = value === null || value === undefined ? "" : `${Math.round(value * 100)} %`;
    $("progress").querySelector("span").textContent = [event.label, share].filter(Boolean).join(" · ");
    $("progress").hidden = false;
  },
  chunk(event) { (view.chunks ??= []).push("value" in event ? event.value : { ref: event.ref, size: event.size }); showResult(view.chunks); },
  artifact(event) { terminal.note("note", `[artifact] ${event.name}, ${event.size.toLocaleString()} bytes`); },
  truncated(event) { terminal.note("warning", `── ${event.dropped_bytes.toLocaleString()} bytes, ${event.dropped_lines.toLocaleString()} lines were not kept (limit ${event.limit.toLocaleString()} bytes) ──`); },
  error(event) {
    const place = [event.cell && `cell ${event.cell}`, event.line && `line ${event.line}`].filter(Boolean).join(", ");
    const line = element("p");
    line.append(element("strong", "", event.ename), event.evalue ? `: ${event.evalue}` : "", place ? ` (${place})` : "");
    const folded = element("details");
    folded.append(element("summary", "quiet", "Traceback"), ansi((event.traceback ?? []).join("\n")));
    $("error").replaceChildren(line, ...(event.traceback?.length ? [folded] : []));
    $("error").hidden = false;
  },
  result(event) {
    if (event.ref) return showLink(event);
    showResult(event.value ?? null);
  },
  end(event) {
    view.state = event.state;
    view.end = event;
    $("progress").hidden = true;
    document.querySelector("main").classList.add("ended");
    $("log-empty").hidden = terminal.count > 0;
    $("cancel")?.remove();
    if ($("again")) $("again").hidden = false;
  },
};

function showOutput(event) {
  if (view.clearing) { clearOutputs(view.clearing); view.clearing = null; }
  const figure = element("figure", "output");
  figure.dataset.cell = event.cell ?? "";
  figure.append(drawOutput(event));
  if (event.display_id) view.outputs.set(event.display_id, figure);
  $("outputs").querySelector("div").append(figure);
  $("outputs").hidden = false;
}

function clearOutputs({ cell }) {
  for (const figure of [...$("outputs").querySelectorAll("figure")]) {
    if (cell === undefined || figure.dataset.cell === String(cell)) figure.remove();
  }
  $("outputs").hidden = !$("outputs").querySelector("figure");
}

function drawOutput(event) {
  const data = event.data;
  const whole = (mime) => (Array.isArray(data[mime]) ? data[mime].join("") : data[mime]);
  if (data["text/html"]) return frame(event.seq, whole("text/html"));
  for (const mime of ["image/svg+xml", "image/png", "image/jpeg", "image/gif", "image/webp"]) {
    const part = whole(mime);
    if (!part) continue;
    const image = element("img");
    image.alt = typeof data["text/plain"] === "string" ? data["text/plain"] : `Output ${event.seq}`;
    image.src = part.ref ?? (mime === "image/svg+xml" ? `data:${mime};charset=utf-8,${encodeURIComponent(part)}` : `data:${mime};base64,${part.replace(/\s/g, "")}`);
    return image;
  }
  const plain = whole("text/markdown") ?? whole("text/latex") ?? whole("text/plain");
  if (plain?.ref) return download(plain);
  if (typeof plain === "string") return ansi(plain);
  return element("pre", "", pretty(data["application/json"] ?? data));
}

function frame(seq, html) {
  const made = element("iframe");
  made.setAttribute("sandbox", "");
  made.title = `Output ${seq}`;
  made.loading = "lazy";
  made.referrerPolicy = "no-referrer";
  const rows = typeof html === "string" ? (html.match(/<(tr|p|br|li|h\d)\b/g)?.length ?? 0) : 20;
  made.style.height = `${Math.max(60, Math.min(480, 24 + rows * 27))}px`;
  made.src = `${config.outputs}${seq}/frame/`;
  return made;
}

function download({ ref, size }) {
  const link = element("a", "", `Download (${size.toLocaleString()} bytes)`);
  link.href = ref;
  return link;
}

function showResult(value) {
  const text = typeof value === "string" ? value : pretty(value);
  $("result").querySelector("pre").textContent = text;
  $("result").hidden = false;
  $("copy").hidden = false;
  $("copy").onclick = () => navigator.clipboard?.writeText(pretty(value));
}

function showLink(event) {
  $("result").querySelector("pre").replaceChildren(download(event));
  $("result").hidden = false;
}

function apply(events) { // false: some are missing, read again from the last one
  for (const event of events) {
    if (event.seq <= view.last) continue;
    if (event.seq > view.last + 1) return false;
    view.last = event.seq;
    handlers[event.type]?.(event);
  }
  showState();
  return true;
}

function seconds(value) {
  if (value < 60) return value < 10 ? `${value.toFixed(1)} s` : `${Math.round(value)} s`;
  return value < 3600 ? `${Math.floor(value / 60)} min ${Math.round(value % 60)} s` : `${(value / 3600).toFixed(1)} h`;
}

function sentence() {
  const { end, state } = view;
  const reason = end?.reason ? `: ${end.reason}` : "";
  const took = end?.elapsed != null ? seconds(end.elapsed) : "";
  switch (state) {
    case "queued": return `Queued ${seconds(Math.max(0, now() - config.created))}`;
    case "starting": return "Starting";
    case "running": return [`Running ${seconds(Math.max(0, now() - (view.started ?? config.created)))}`, view.cell].filter(Boolean).join(", ");
    case "cancelling": return "Cancelling…";
    case "succeeded": return took && `Ran ${took}`;
    case "failed": return took && `Failed after ${took}`;
    case "timed_out": return `Stopped at its limit${took && `, after ${took}`}`;
    case "cancelled": return `Cancelled${took && ` after ${took}`}${end?.abandoned ? "; its thread may still work" : ""}`;
    case "crashed": return `Its process was killed${reason}`;
    case "lost": return "Its worker vanished";
    default: return `Refused${reason}`;
  }
}

function showState() {
  const pill = $("pill").querySelector(".pill");
  if (!pill.classList.contains(view.state)) {
    pill.className = `pill ${view.state}`;
    pill.textContent = view.state.replace("_", " ");
  }
  const text = sentence();
  if (text && $("sentence").textContent !== text) $("sentence").textContent = text;
}
const clock = setInterval(() => (view.end ? clearInterval(clock) : showState()), 1000);

// ---------------------------------------------------------------- the connection

const link = { socket: null, failures: 0, refusals: 0, timer: 0, watch: 0, isOver: false };
const say = (text) => { $("link").textContent = text; };

function over(text) {
  link.isOver = true;
  drop();
  clearTimeout(link.timer);
  say(text);
}

function drop() {
  clearTimeout(link.watch);
  const socket = link.socket;
  link.socket = null;
  if (!socket) return;
  socket.onopen = socket.onmessage = socket.onclose = null;
  socket.close();
}

function heard() { // two and a half heartbeats of silence: the connection is dead
  clearTimeout(link.watch);
  link.watch = setTimeout(() => { drop(); waitAgain(); }, config.heartbeat * 2500);
}

function connect() {
  if (link.isOver || link.socket) return;
  if (!config.socket || link.refusals >= 3) return void poll();
  const address = new URL(config.socket, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  address.search = `after=${view.last}`;
  const socket = (link.socket = new WebSocket(address, "djsci.v1"));
  let wasGreeted = false;
  heard();
  socket.onmessage = ({ data }) => {
    heard();
    const message = json(data);
    if (message.type === "hello") { wasGreeted = true; link.refusals = 0; say("Live"); }
    else if (message.type === "events") {
      link.failures = 0;
      if (!apply(message.events)) { drop(); waitAgain(); }
      else if (view.end) over("");
    } else if (message.type === "head") link.failures = 0;
    else if (message.type === "next") { drop(); connect(); }
    else if (message.type === "error") say(message.title);
  };
  socket.onclose = ({ code }) => {
    drop();
    if ([4400, 4401, 4403, 4404, 4413].includes(code)) over(code === 4401 ? "Signed out" : $("link").textContent || "Refused");
    else if (code === 4410) link.timer = setTimeout(connect, Math.random() * 2000);
    else if (code === 4429) link.timer = setTimeout(connect, 30000);
    else if (wasGreeted) waitAgain();
    else void probe();
  };
}

function waitAgain() {
  if (link.isOver) return;
  clearTimeout(link.timer);
  say(navigator.onLine ? "Reconnecting…" : "Offline");
  const pause = Math.min(15000, 250 * 2 ** link.failures++) * (0.5 + Math.random() / 2);
  link.timer = setTimeout(connect, pause);
}

async function probe() { // a refused handshake gives no reason: ask over HTTP
  try {
    const { status } = await fetch(config.self);
    if ([401, 403, 404, 410].includes(status)) return over(status === 401 ? "Signed out" : "You may not see this run");
    if (status === 200) link.refusals++;
  } catch { /* the server is away */ }
  waitAgain();
}

async function poll() {
  say("Live, by polling");
  while (!link.isOver) {
    const answer = await fetch(`${config.self}events/?after=${view.last}&wait=25`, { headers: { Accept: "application/json" } }).catch(() => null);
    if (!answer) return waitAgain();
    if ([401, 403, 404, 410].includes(answer.status)) return over(answer.status === 410 ? "Its log was removed" : "Refused");
    if (!answer.ok) return waitAgain();
    apply(json(await answer.text()).events);
    link.failures = 0;
    if (view.end) return over("");
    if (!config.socket) await new Promise((go) => setTimeout(go, document.hidden ? 5000 : 1000));
  }
}

$("cancel")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target, button = form.querySelector("button");
  const force = button.dataset.force === "yes";
  button.disabled = true;
  view.state = "cancelling";
  showState();
  if (link.socket?.readyState === WebSocket.OPEN) link.socket.send(JSON.stringify({ type: "cancel", force }));
  else await fetch(form.action, { method: "POST", body: new FormData(form) }).catch(() => {});
  setTimeout(() => {
    button.disabled = false;
    button.textContent = "Force stop";
    button.dataset.force = "yes";
  }, (config.grace + 1) * 1000);
});

addEventListener("online", () => { if (!link.socket) connect(); });
addEventListener("pagehide", drop);
addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden && !link.socket && !view.end) { clearTimeout(link.timer); connect(); } });

if (config.pruned) over("Its log was removed");
else connect();
