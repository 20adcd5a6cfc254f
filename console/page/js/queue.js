// The queue: who needs an answer, most urgent first; then what others have and nobody here took; then
// what is in hand; then what is silenced.

import { arrange, h, say, shape } from "./dom.js";
import { minutes, span, who } from "./format.js";
import { t, word } from "./i18n.js";
import { groupOf, GROUPS, now, queues, store } from "./store.js";

export class Queue {
  constructor({ onselect }) {
    this.onselect = onselect;
    this.selected = null;
    this.rows = new Map();
    this.planned = 0;
    this.parts = Object.fromEntries(
      GROUPS.map((group) => {
        const count = h("span", { class: "num" });
        const head = h("h2", { id: `group-${group}`, role: "presentation" }, h("span", {}, t(`group-${group}`)), count);
        const list = h("div", { role: "presentation" });
        const root = h("div", { role: "group", "aria-labelledby": `group-${group}` }, head, list);
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
    // Only the clocks that somebody can see run.
    this.watcher = new IntersectionObserver((changes) => {
      for (const { target, isIntersecting } of changes) {
        const row = this.rows.get(target.dataset.incident);
        if (!row) continue;
        row.seen = isIntersecting;
        if (isIntersecting) this.time(row);
      }
    }, { root: this.root.lastElementChild, rootMargin: "300px" });
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
    this.watcher.disconnect();
  }

  changed(detail) {
    if (detail.one) this.fresh = detail.before ? this.fresh : detail.one.id;
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
      arrange(part.list, incidents.map((one) => this.row(one, group).root));
      for (const one of incidents) seen.add(one.id);
      say(part.count, String(incidents.length));
      part.root.hidden = !incidents.length;
    }
    for (const [id, row] of this.rows) {
      if (seen.has(id)) continue;
      this.watcher.unobserve(row.root);
      this.rows.delete(id);
    }
    this.none.hidden = total > 0;
    this.list.hidden = total === 0;
    this.tick();
  }

  row(incident, group) {
    let row = this.rows.get(incident.id);
    if (!row) {
      row = this.make(incident.id);
      this.rows.set(incident.id, row);
      this.watcher.observe(row.root);
      if (this.fresh === incident.id) row.root.classList.add("fresh");
    }
    if (row.changed !== incident.changed || row.group !== group) this.fill(row, incident, group);
    return row;
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
    return { root, sign, what, people, more, timer, changed: "", group: "", incident: null };
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
    for (const row of this.rows.values()) if (row.seen) this.time(row);
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
