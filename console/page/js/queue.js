// The queue: who needs an answer, most urgent first; then what others have and nobody here took; then
// what is in hand; then what is silenced.

import { arrange, h, say, shape } from "./dom.js";
import { minutes, span, who } from "./format.js";
import { t, word } from "./i18n.js";
import { groupOf, GROUPS, now, queues, store } from "./store.js";

const CHUNK_ROWS = 16;
const ROW_REM = 4.6;
const FRESH_MS = 1_500;

/** Whether a row begins a chunk: by its name alone, so that rows that come and go move no other. */
function begins(id) {
  let sum = 0;
  for (let at = 0; at < id.length; at += 1) sum = (31 * sum + id.charCodeAt(at)) >>> 0;
  return ((sum ^ (sum >>> 13)) >>> 0) % CHUNK_ROWS === 0;
}

/** The list of a group. A queue of hundreds is dear when each row is looked at by the browser in every
 * frame: rows hang in chunks of about 16, and of a chunk that nobody can see nothing is laid out or drawn. */
export class Chunks {
  constructor() {
    this.root = h("div", { role: "presentation" });
    this.chunks = new Map();
    // The clocks of a chunk run while somebody can see it.
    this.root.addEventListener("contentvisibilityautostatechange", ({ target, skipped }) => {
      const chunk = this.chunks.get(target.dataset.head);
      if (!chunk || chunk.root !== target) return;
      chunk.seen = !skipped;
      if (chunk.seen) this.onseen(chunk.rows);
    });
  }

  /** Put rows in this order. */
  arrange(rows) {
    const wanted = new Map();
    let current = null;
    for (const row of rows) {
      if (!current || row.begins) {
        const head = current ? row.id : "";
        current = this.chunks.get(head) || this.make(head);
        current.rows = [];
        wanted.set(head, current);
      }
      current.rows.push(row);
    }
    this.chunks = wanted;
    const chunks = [...wanted.values()];
    arrange(this.root, chunks.map((chunk) => chunk.root));
    for (const chunk of chunks) {
      arrange(chunk.root, chunk.rows.map((row) => row.root));
      // What a chunk that was never seen takes in the list: a row is about so high.
      const size = `auto ${chunk.rows.length * ROW_REM}rem`;
      if (chunk.size !== size) chunk.root.style.containIntrinsicBlockSize = chunk.size = size;
    }
  }

  make(head) {
    return { root: h("div", { class: "chunk", role: "presentation", dataset: { head } }), rows: [], seen: true };
  }

  seen() {
    return [...this.chunks.values()].filter((chunk) => chunk.seen).flatMap((chunk) => chunk.rows);
  }
}

export class Queue {
  constructor({ onselect }) {
    this.onselect = onselect;
    this.selected = null;
    this.rows = new Map();
    this.fresh = new Set();
    this.planned = 0;
    this.parts = Object.fromEntries(
      GROUPS.map((group) => {
        const count = h("span", { class: "num" });
        const head = h("h2", { id: `group-${group}`, role: "presentation" }, h("span", {}, t(`group-${group}`)), count);
        const list = new Chunks();
        list.onseen = (rows) => rows.forEach((row) => this.time(row));
        const root = h("div", { role: "group", "aria-labelledby": `group-${group}` }, head, list.root);
        return [group, { root, list, count, order: [] }];
      }),
    );
    this.none = h("p", { class: "empty" }, t("queue-empty"));
    this.list = h(
      "div",
      { class: "list", role: "listbox", tabindex: "0", "aria-label": t("queue"), id: "queue-list" },
      GROUPS.map((group) => this.parts[group].root),
    );
    this.load = h("span", { class: "dim" });
    this.root = h(
      "section",
      { class: "queue", "aria-label": t("queue") },
      h("header", {}, h("h1", {}, t("queue")), h("span", { class: "grow" }), this.load),
      h("div", { class: "list-box" }, this.none, this.list),
    );
    this.list.addEventListener("click", (event) => {
      const row = event.target.closest("[data-incident]");
      if (row) this.onselect(row.dataset.incident);
    });
    this.list.addEventListener("keydown", (event) => this.onkey(event));
    this.ticking = () => this.tick();
    this.changing = (event) => this.changed(event.detail);
    store.addEventListener("tick", this.ticking);
    store.addEventListener("incidents", this.changing);
    this.draw();
  }

  close() {
    store.removeEventListener("tick", this.ticking);
    store.removeEventListener("incidents", this.changing);
    cancelAnimationFrame(this.planned);
  }

  changed(detail) {
    if (detail.one && !detail.before) this.fresh.add(detail.one.id);
    if (!this.planned) this.planned = requestAnimationFrame(() => this.draw());
  }

  onkey(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, Home: -1e9, End: 1e9 }[event.key];
    if (step === undefined || event.ctrlKey || event.altKey) return;
    event.preventDefault();
    this.move(step);
  }

  /** Every incident in the order in which it is shown. */
  order() {
    return GROUPS.flatMap((group) => this.parts[group].order);
  }

  move(step) {
    const order = this.order();
    if (!order.length) return;
    const at = order.indexOf(this.selected);
    const next = Math.min(order.length - 1, Math.max(0, at < 0 ? 0 : at + step));
    this.onselect(order[next]);
  }

  select(id) {
    const before = this.rows.get(this.selected);
    if (before) before.root.setAttribute("aria-selected", "false");
    this.selected = id;
    const row = this.rows.get(id);
    if (!row) {
      this.list.removeAttribute("aria-activedescendant");
      return;
    }
    row.root.setAttribute("aria-selected", "true");
    this.list.setAttribute("aria-activedescendant", row.root.id);
    row.root.scrollIntoView({ block: "nearest" });
  }

  draw() {
    this.planned = 0;
    const seen = new Set();
    let total = 0;
    const all = queues();
    for (const group of GROUPS) {
      const part = this.parts[group];
      const incidents = all[group];
      total += incidents.length;
      part.order = incidents.map((one) => one.id);
      part.list.arrange(incidents.map((one) => this.row(one, group)));
      for (const one of incidents) seen.add(one.id);
      say(part.count, String(incidents.length));
      part.root.hidden = !incidents.length;
    }
    for (const id of this.rows.keys()) if (!seen.has(id)) this.rows.delete(id);
    this.fresh.clear();
    this.none.hidden = total > 0;
    this.list.hidden = total === 0;
    this.tick();
  }

  row(incident, group) {
    let row = this.rows.get(incident.id);
    if (!row) {
      row = this.make(incident.id);
      this.rows.set(incident.id, row);
      if (this.fresh.has(incident.id)) this.mark(row);
    }
    if (row.changed !== incident.changed || row.group !== group) this.fill(row, incident, group);
    return row;
  }

  /** Show for a moment that a row is new; still, for what moves is drawn in every frame. */
  mark(row) {
    row.root.classList.add("fresh");
    setTimeout(() => row.root.classList.remove("fresh"), FRESH_MS);
  }

  make(id) {
    const sign = h("div");
    const what = h("div", { class: "what" });
    const people = h("div", { class: "who" });
    const more = h("div", { class: "more" });
    const timer = h("div", { class: "timer" });
    const root = h(
      "div",
      { class: "entry", role: "option", id: `q-${id}`, "aria-selected": id === this.selected ? "true" : "false", dataset: { incident: id } },
      sign,
      h("div", {}, what, people, more),
      timer,
    );
    return { id, begins: begins(id), root, sign, what, people, more, timer, changed: "", group: "", incident: null };
  }

  fill(row, incident, group) {
    row.changed = incident.changed;
    row.group = group;
    row.incident = incident;
    const waiting = group === "waiting";
    row.root.classList.toggle("quiet", !waiting && group !== "elsewhere");
    row.sign.replaceChildren(shape(incident.priority, { filled: waiting, label: t(`priority-${incident.priority}`) }));
    const lead = incident.alarms[0];
    const others = new Set(incident.alarms.filter((alarm) => alarm.state !== "closed").map((alarm) => alarm.alarm_class));
    others.delete(lead?.alarm_class);
    row.what.replaceChildren(word(lead?.alarm_class), ...(incident.drill ? [" ", h("span", { class: "tag drill" }, t("drill"))] : []));
    say(row.people, who(incident));
    const more = [
      group !== "waiting" && incident.owner ? t("by", { name: incident.owner }) : "",
      incident.offered_to ? t("offered-to", { name: incident.offered_to }) : "",
      incident.closing ? t("closing-short", { name: incident.closing.by, why: word(incident.closing.disposition) }) : "",
      lead && !lead.confirmed && waiting ? t("unconfirmed") : "",
      lead && lead.state.startsWith("returned") ? t("returned") : "",
      ...[...others].map(word),
      lead && lead.count > 1 ? `${lead.count}×` : "",
      this.handOver(incident),
    ];
    say(row.more, more.filter(Boolean).join(" · "));
    row.timer.replaceChildren();
    this.time(row);
  }

  handOver(incident) {
    const police = incident.hand_overs.filter((one) => one.audience === "police");
    if (!police.length) return "";
    return police.some((one) => one.complete) ? t("police-has-it") : t("police-not-yet");
  }

  tick() {
    for (const group of GROUPS) for (const row of this.parts[group].list.seen()) this.time(row);
    say(this.load, t("load", { count: store.tick.pages_10min }));
  }

  time(row) {
    if (!row || !row.incident) return;
    const { due_ms: due, owner_ms: owned, opened_ms: opened } = row.incident;
    if (groupOf(row.incident) === "waiting") {
      const left = due - now();
      const late = left < 0;
      if (!row.clock) row.clock = h("span");
      if (!row.timer.contains(row.clock)) row.timer.replaceChildren(row.clock);
      row.clock.classList.toggle("late", late);
      say(row.clock, late ? `+${span(-left)}` : span(left + 999));
    } else {
      say(row.timer, minutes(now() - (owned ?? opened)));
    }
  }
}
