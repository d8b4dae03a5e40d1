// Keeps the page live: reads one stream of server-sent events and replaces the regions that change.
"use strict";

const STALE_AFTER_MS = 3500; // three heartbeats missed
const RECONNECT_MAX_MS = 10000;
const HANGS_AFTER_MS = 12000; // longer than any pause between two attempts

const state = document.getElementById("state");
const stale = document.getElementById("stale");
const pause = document.getElementById("pause");

let source = null;
let reconnectMs = 500;
let reconnecting = 0;
let heardAt = Date.now();
let triedAt = 0;
let paused = false;
let waiting = {}; // regions that changed while paused

function clock(ms) {
  return new Date(ms).toLocaleTimeString("en-GB");
}

function show(name, text) {
  if (state.dataset.state !== name || state.textContent !== text) {
    state.dataset.state = name;
    state.textContent = text;
  }
}

// Replaces a region's content but keeps its focus and scroll position.
function replace(id, html) {
  const region = document.getElementById(id);
  if (!region) return;
  const focused = region.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
  const top = region.scrollTop;
  region.innerHTML = html; // rendered and escaped by our own server
  region.scrollTop = top;
  if (focused !== undefined) {
    const again = [...region.querySelectorAll("[data-focus]")].find((e) => e.dataset.focus === focused);
    if (again) again.focus({ preventScroll: true });
  }
}

function apply(regions) {
  if (paused) {
    Object.assign(waiting, regions);
    return;
  }
  for (const [id, html] of Object.entries(regions)) replace(id, html);
}

function heard() {
  heardAt = Date.now();
  reconnectMs = 500;
  stale.hidden = true;
  show(paused ? "paused" : "live", paused ? "Paused" : "Live");
}

function connect() {
  clearTimeout(reconnecting);
  if (source) source.close();
  triedAt = Date.now();
  source = new EventSource("/events");
  for (const kind of ["snapshot", "patch"]) {
    source.addEventListener(kind, (event) => {
      apply(JSON.parse(event.data));
      heard();
    });
  }
  source.addEventListener("beat", heard);
  // The browser does not reconnect after an error status, so this does.
  source.addEventListener("error", () => {
    source.close();
    reconnecting = setTimeout(connect, reconnectMs);
    reconnectMs = Math.min(2 * reconnectMs, RECONNECT_MAX_MS);
  });
}

// A stream can also hang without an error, so silence counts as one.
setInterval(() => {
  const silentMs = Date.now() - heardAt;
  if (silentMs < STALE_AFTER_MS) return;
  const line = `Stale since ${clock(heardAt)}. Reconnecting…`;
  if (stale.hidden || stale.textContent !== line) stale.textContent = line;
  stale.hidden = false;
  show("stale", "Stale");
  if (Date.now() - Math.max(heardAt, triedAt) > HANGS_AFTER_MS) connect();
}, 500);

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  if (!paused) {
    const missed = waiting;
    waiting = {};
    apply(missed);
  }
  if (stale.hidden) show(paused ? "paused" : "live", paused ? "Paused" : "Live");
});

addEventListener("pagehide", () => source.close());
addEventListener("pageshow", (event) => {
  if (event.persisted) connect();
});
connect();
