// One incident: what it is, what must be done, what has been done, what happened.

import { get } from "./api.js";
import { Actions } from "./actions.js";
import { h, say, shape } from "./dom.js";
import { age, clock, metres, percent, span, speed, who } from "./format.js";
import { both, t, word } from "./i18n.js";
import { spark } from "./spark.js";
import { groupOf, may, now, queues, store } from "./store.js";
import { Timeline } from "./timeline.js";

const AGAIN_MS = 150;

export class IncidentPanel {
  constructor(root, id, { onorders }) {
    this.id = id;
    this.onorders = onorders;
    this.detail = null;
    this.closed = false;
    this.head = h("header");
    this.next = h("section", { class: "next" });
    this.actions = new Actions(this);
    this.distance = h("section", { hidden: true });
    this.hand = h("section", { class: "hand-overs" });
    this.facts = h("section");
    this.timeline = new Timeline(id);
    this.body = h("div", { class: "body" }, this.next, this.actions.root, this.hand, this.distance, this.facts, this.timeline.root);
    root.replaceChildren(this.head, this.body);
    this.ticking = () => this.tick();
    this.changing = (event) => this.changed(event.detail);
    store.addEventListener("tick", this.ticking);
    store.addEventListener("incidents", this.changing);
    const known = store.incidents.get(id);
    if (known) this.draw(known);
    this.load(true);
  }

  close() {
    this.closed = true;
    clearTimeout(this.again);
    store.removeEventListener("tick", this.ticking);
    store.removeEventListener("incidents", this.changing);
  }

  key(key) {
    return this.actions.key(key);
  }

  changed({ one, all }) {
    if (!all && one.id !== this.id) return;
    const known = store.incidents.get(this.id);
    if (known) this.draw(known);
    clearTimeout(this.again);
    this.again = setTimeout(() => this.load(false), AGAIN_MS);
  }

  async load(first) {
    try {
      const detail = await get(`/v1/incidents/${this.id}`, { background: !first });
      if (this.closed) return;
      this.detail = detail;
      this.draw(detail.incident);
      this.drawNext();
      this.drawFacts();
      this.onorders(detail.orders);
      if (may("timeline")) await this.timeline.load(!first);
    } catch (error) {
      if (this.closed) return;
      if (error.status === 404) this.next.replaceChildren(h("p", {}, t("incident-gone")));
      else this.actions.say(error.words || String(error), true);
    }
  }

  get incident() {
    return store.incidents.get(this.id) || this.detail?.incident || null;
  }

  draw(incident) {
    const group = groupOf(incident);
    const lead = incident.alarms[0];
    this.clock = h("span");
    this.under = h("small");
    const open = incident.alarms.filter((alarm) => alarm.state !== "closed");
    this.head.replaceChildren(
      shape(incident.priority, { filled: group === "waiting", label: t(`priority-${incident.priority}`) }),
      h("div", {}, h("h1", {}, word(lead?.alarm_class)), h("p", { class: "big" }, who(incident))),
      h("div", { class: "timer" }, this.clock, this.under),
      h(
        "div",
        { class: "tags" },
        incident.drill ? h("span", { class: "tag drill" }, t("drill")) : null,
        h("span", { class: "tag" }, t("opened-at", { time: clock(incident.opened_ms) })),
        incident.case_id ? h("a", { class: "tag", href: `#/cases/${incident.case_id}` }, incident.case_id) : null,
        incident.offered_to ? h("span", { class: "tag strong" }, t("offered-tag", { to: incident.offered_to, by: incident.offered_by })) : null,
        incident.closing
          ? h("span", { class: "tag strong" }, t("closing-tag", { name: incident.closing.by, why: word(incident.closing.disposition), until: clock(incident.closing.until_ms) }))
          : null,
        ...open.map((alarm) => this.alarmTag(alarm)),
        incident.state === "closed" ? h("span", { class: "tag" }, t("closed-by", { name: [incident.closed_by || t("itself"), incident.countersigned_by].filter(Boolean).join(" + "), why: word(incident.disposition) })) : null,
      ),
    );
    this.drawHandOvers(incident);
    this.actions.draw(incident);
    this.tick();
  }

  alarmTag(alarm) {
    const words = [word(alarm.alarm_class), alarm.count > 1 ? `${alarm.count}×` : "", word(alarm.state)];
    if (!alarm.confirmed) words.push(t("unconfirmed"));
    if (alarm.acknowledged_by) words.push(alarm.acknowledged_by);
    if (alarm.shelved_until_ms) words.push(t("shelved-until", { time: clock(alarm.shelved_until_ms) }));
    if (alarm.suppressed || alarm.out_of_service) words.push(word(alarm.suppressed || alarm.out_of_service));
    return h("span", { class: "tag" }, words.filter(Boolean).join(" · "));
  }

  tick() {
    const incident = this.incident;
    if (!incident || !this.clock) return;
    if (incident.due_ms !== null && incident.state === "open") {
      const left = incident.due_ms - now();
      this.clock.classList.toggle("late", left < 0);
      say(this.clock, left < 0 ? `+${span(-left)}` : span(left + 999));
      say(this.under, left < 0 ? t("too-late") : t("to-respond"));
    } else {
      this.clock.classList.remove("late");
      const until = incident.closed_ms ?? now();
      say(this.clock, span(until - (incident.owner_ms ?? incident.opened_ms)));
      say(this.under, incident.state === "closed" ? t("lasted") : incident.owner ? t("by", { name: incident.owner }) : t("answered-elsewhere"));
    }
    for (const cell of this.hand.querySelectorAll("[data-deadline]")) {
      const left = Number(cell.dataset.deadline) - now();
      say(cell, left > 0 ? t("waits-for-it", { left: span(left + 999) }) : t("not-in-time", { since: span(-left) }));
    }
  }

  drawNext() {
    const next = this.detail.next;
    if (!next) {
      const [following] = queues().waiting;
      this.next.replaceChildren(
        h("h2", {}, t("what-now")),
        h("p", {}, t("nothing-open")),
        ...(following ? [h("a", { class: "button", href: `#/incidents/${following.id}` }, t("next-one", { what: `${word(following.alarms[0]?.alarm_class)} ${who(following)}` }), h("kbd", {}, "J"))] : []),
      );
      return;
    }
    this.next.replaceChildren(
      h("h2", {}, t("what-now")),
      h("p", { class: "action" }, both(next.action)),
      h("p", { class: "consequence" }, both(next.consequence), next.latched ? ` ${t("latched-words")}` : ""),
    );
  }

  drawHandOvers(incident) {
    // Several alarms of one incident may tell the same target: what was told last counts.
    const latest = new Map();
    for (const one of incident.hand_overs) if (!latest.has(one.target) || latest.get(one.target).told_ms <= one.told_ms) latest.set(one.target, one);
    const rows = [...latest.values()].sort((one, other) => (other.needs === "acknowledged") - (one.needs === "acknowledged") || one.told_ms - other.told_ms);
    this.hand.hidden = !rows.length;
    this.hand.replaceChildren(
      h("h2", {}, t("hand-overs")),
      h(
        "table",
        {},
        h("thead", { class: "unseen" }, h("tr", {}, [t("who"), t("status"), t("time")].map((head) => h("th", { scope: "col" }, head)))),
        h(
          "tbody",
          {},
          rows.map((one) =>
            h(
              "tr",
              {},
              h("td", {}, one.target, h("div", { class: "dim hint" }, word(one.audience))),
              h("td", { class: one.complete ? "" : "open" }, this.handOverWords(one, incident)),
              h("td", { class: "num" }, clock(one.status_ms ?? one.told_ms)),
            ),
          ),
        ),
      ),
    );
  }

  handOverWords(one, incident) {
    if (one.complete) return `✓ ${word(one.status)}${one.by && one.by !== one.target ? ` (${one.by})` : ""}`;
    const words = [word(one.status)];
    if (one.status === "refused" || one.status === "failed") return `✗ ${words[0]}`;
    if (one.deadline_ms && incident.state === "open" && incident.due_ms !== null)
      return [`${words[0]}, `, h("span", { dataset: { deadline: one.deadline_ms } })];
    return words[0];
  }

  drawFacts() {
    const facts = this.detail.facts;
    const orders = this.detail.orders;
    const lines = [];
    const line = (name, value) => value !== undefined && value !== null && value !== "–" && value !== "" && lines.push(h("dt", {}, name), h("dd", { class: "num-left" }, value));
    if (facts) {
      line(t("reason"), word(facts.reason));
      if (!facts.authenticated) line(t("sender"), t("unproven"));
      line(t("order"), facts.order_id ? h("a", { href: `#/orders/${facts.order_id}` }, `${facts.order_id} (${word(facts.order_kind)})`) : "");
      line(t("distance"), facts.distance_mm === undefined || facts.distance_mm === null ? "" : metres(Math.abs(facts.distance_mm) / 1000));
      line(t("probability"), facts.probability_1024 === undefined ? "" : percent(facts.probability_1024));
      line(t("time-to-contact"), facts.time_to_contact_ms ? span(facts.time_to_contact_ms) : "");
      line(t("closing"), facts.closing_mm_s ? speed(facts.closing_mm_s / 1000) : "");
      line(t("age-then"), facts.wearer_age_ms === null ? "" : age(facts.wearer_age_ms));
      line(t("labels"), facts.labels.map(word).join(", "));
      line(t("detail"), facts.detail);
      line(t("told-at"), clock(facts.at_ms));
    }
    for (const { id, state, order } of orders) {
      if (facts && facts.order_id === id) continue;
      line(t("order"), h("span", {}, h("a", { href: `#/orders/${id}` }, id), ` ${word(order.kind)}, ${word(state)}`));
    }
    this.facts.hidden = !lines.length;
    this.facts.replaceChildren(h("h2", {}, t("facts")), h("dl", { class: "facts" }, lines));
  }

  positions(found) {
    const order = this.detail?.orders.map((one) => one.order).find((one) => one.kind === "contact-ban");
    const drawn = may("distance") ? spark(found, this.incident, order) : null;
    this.distance.hidden = !drawn;
    if (drawn) this.distance.replaceChildren(h("h2", {}, t("distance-lately")), drawn);
  }
}
