// What the page knows: incidents as the live stream tells them, the time, the health of the service.

import { get } from "./api.js";

export const store = Object.assign(new EventTarget(), {
  session: null,
  settings: null,
  incidents: new Map(),
  health: { parts: [], caught_up: true },
  tick: { now_ms: Date.now(), waiting: 0, overdue: 0, critical: 0, flood: false, pages_10min: 0, on_duty: 0, definitions: 0 },
  cursor: "",
  connected: false,
  heard_ms: 0,
  offset_ms: 0,
});

let source = null;
let retry = 0;
let watchdog = 0;
const SILENT_MS = 4_000;

/** The time of the service, whatever this machine's clock says. */
export const now = () => Date.now() + store.offset_ms;

export const may = (right) => Boolean(store.session && store.session.rights.includes(right));

const tell = (name, detail) => store.dispatchEvent(new CustomEvent(name, { detail }));

/** Load the queue, then follow what changes. A locked screen is told how many wait, and nothing else. */
export async function follow() {
  stop();
  if (may("queue") && !store.session.locked) {
    const list = await get("/v1/incidents", { background: true });
    store.incidents = new Map(list.incidents.map((one) => [one.id, one]));
    store.cursor = list.cursor;
    store.offset_ms = list.now_ms - Date.now();
    tell("incidents", { all: true });
  }
  connect();
  clearInterval(watchdog);
  watchdog = setInterval(() => {
    const silent = Date.now() - store.heard_ms > SILENT_MS;
    if (silent && store.connected) setConnected(false);
    // A stream that says nothing is dead, whatever the browser thinks of it.
    if (silent && source && Date.now() - store.heard_ms > 3 * SILENT_MS) connect();
  }, 1_000);
}

export function stop() {
  if (source) source.close();
  source = null;
  clearInterval(watchdog);
  clearTimeout(retry);
}

function setConnected(connected) {
  if (store.connected === connected) return;
  store.connected = connected;
  tell("connection");
}

function connect() {
  if (source) source.close();
  clearTimeout(retry);
  store.heard_ms = Date.now();
  source = new EventSource(`/v1/events?after=${encodeURIComponent(store.cursor)}`);
  const on = (name, take) =>
    source.addEventListener(name, (event) => {
      store.heard_ms = Date.now();
      if (event.lastEventId) store.cursor = event.lastEventId;
      setConnected(true);
      take(JSON.parse(event.data));
    });
  on("hello", (said) => {
    store.offset_ms = said.now_ms - Date.now();
  });
  on("open-incidents", ({ ids }) => {
    const known = new Set(ids);
    for (const [id, one] of store.incidents) if (one.state === "open" && !known.has(id)) store.incidents.delete(id);
    tell("incidents", { all: true });
  });
  on("incident", (one) => {
    const before = store.incidents.get(one.id);
    store.incidents.set(one.id, one);
    tell("incidents", { one, before });
  });
  on("tick", (said) => {
    const definitions = said.definitions !== store.tick.definitions;
    store.offset_ms = said.now_ms - Date.now();
    store.tick = said;
    tell("tick");
    if (definitions) tell("definitions");
    if (said.locked !== Boolean(store.session && store.session.locked)) tell("lock", said.locked);
  });
  on("health", (said) => {
    store.health = said;
    tell("health");
  });
  on("end", () => {
    stop();
    tell("signed-out");
  });
  source.onerror = () => {
    setConnected(false);
    // The browser connects again by itself, unless the answer was no stream at all.
    if (source && source.readyState === EventSource.CLOSED) retry = setTimeout(connect, 1_000);
  };
}

/** Whether somebody else proposed to close it, so that this person may be the second. */
export function signable(incident) {
  return incident.state === "open" && Boolean(incident.closing) && incident.closing.by !== store.session?.name && may("close");
}

/** The groups of the queue, in the order in which they are shown. */
export const GROUPS = ["waiting", "offered", "to-sign", "elsewhere", "in-hand", "silenced"];

/** Which group of the queue an incident is in. */
export function groupOf(incident) {
  if (incident.state !== "open") return "closed";
  if (incident.due_ms !== null) return "waiting";
  if (signable(incident)) return "to-sign";
  if (incident.offered_to && store.session && incident.offered_to === store.session.name) return "offered";
  const open = incident.alarms.filter((alarm) => alarm.state !== "closed");
  if (open.length && open.every((alarm) => alarm.suppressed || alarm.out_of_service || alarm.shelved_until_ms)) return "silenced";
  return incident.in_room ? "in-hand" : "elsewhere";
}

const RANK = { critical: 0, high: 1, medium: 2, low: 3 };

/** The order of the queue: priority, then what is due first; in hand: oldest answer first. */
export function byUrgency(one, other) {
  return (
    RANK[one.priority] - RANK[other.priority] ||
    (one.due_ms ?? one.owner_ms ?? one.opened_ms) - (other.due_ms ?? other.owner_ms ?? other.opened_ms) ||
    (one.id < other.id ? -1 : 1)
  );
}

/** Open incidents of every group, each in order. */
export function queues() {
  const found = Object.fromEntries(GROUPS.map((group) => [group, []]));
  for (const one of store.incidents.values()) found[groupOf(one)]?.push(one);
  for (const group of GROUPS) found[group].sort(byUrgency);
  return found;
}

/** Open incidents of a group, in order. */
export const queueOf = (group) => queues()[group];
