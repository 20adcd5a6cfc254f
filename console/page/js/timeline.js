// What happened, newest first: devices, alarms, plan, deliveries and people in one list.

import { get } from "./api.js";
import { h } from "./dom.js";
import { clock } from "./format.js";
import { t, word } from "./i18n.js";

const LANES = ["device", "alarm", "plan", "delivery", "operator", "incident"];
const SHOWN_MAX = 400;

/** An entry in words. */
export function entryWords(entry) {
  const parts = [];
  const main = word(entry.what);
  if (entry.lane === "delivery" && entry.what === "delivery") parts.push(entry.target, word(entry.reason));
  else if (entry.lane === "delivery" && entry.target) parts.push(`${main} → ${entry.target}`);
  else parts.push(main);
  if (entry.alarm_class) parts.push(word(entry.alarm_class));
  if (entry.reason && !["operator", "delivery", entry.what].includes(entry.reason) && entry.what !== "delivery") parts.push(word(entry.reason));
  if (entry.step !== null && entry.lane === "plan") parts.push(t("step", { number: entry.step + 1 }));
  if (entry.device_id && entry.lane === "device") parts.push(entry.device_id);
  if (entry.lane === "plan" && entry.text) parts.push(entry.text);
  if (entry.by) parts.push(entry.by);
  return parts.filter(Boolean).join(" · ");
}

// What a receiver's machine answered is worth a line only when it did not take it.
const quoted = ({ lane, text }) => Boolean(text) && lane !== "plan" && !/^http-2\d\d$/.test(text);

export function entryRow(entry) {
  const lane = entry.lane === "incident" ? "incident-lane" : entry.lane;
  return h(
    "li",
    { class: lane, dataset: { key: entry.key, at: entry.at_ms } },
    h("time", { datetime: new Date(entry.at_ms).toISOString() }, clock(entry.at_ms)),
    h("span", { class: "dim" }, word(entry.lane)),
    h("span", { class: "words" }, entryWords(entry), quoted(entry) ? h("q", {}, entry.text) : null),
  );
}

export class Timeline {
  constructor(id) {
    this.id = id;
    this.entries = [];
    this.leftOut = 0;
    this.hidden = new Set(JSON.parse(localStorage.getItem("lanes-hidden") || '["plan"]'));
    this.list = h("ol", { reversed: true });
    this.more = h("p", { class: "hint", hidden: true });
    this.filters = h("div", { class: "filters", role: "group", "aria-label": t("filters") });
    this.root = h("section", { class: "timeline" }, h("h2", {}, t("timeline")), this.filters, this.list, this.more);
    this.drawFilters();
  }

  drawFilters() {
    this.filters.replaceChildren(
      ...LANES.map((lane) =>
        h("button", { "aria-pressed": this.hidden.has(lane) ? "false" : "true", onclick: () => this.toggle(lane) }, word(lane)),
      ),
    );
  }

  toggle(lane) {
    if (!this.hidden.delete(lane)) this.hidden.add(lane);
    localStorage.setItem("lanes-hidden", JSON.stringify([...this.hidden]));
    this.drawFilters();
    this.draw();
  }

  async load(background) {
    const last = this.entries.at(-1);
    const after = last ? `?after=${encodeURIComponent(last.key)}` : "";
    const found = await get(`/v1/incidents/${this.id}/timeline${after}`, { background });
    const known = new Set(this.entries.map((one) => one.key));
    this.entries.push(...found.entries.filter((one) => !known.has(one.key)));
    this.entries.sort((one, other) => one.at_ms - other.at_ms);
    this.leftOut = found.left_out;
    this.draw();
  }

  draw() {
    const shown = this.entries.filter((one) => !this.hidden.has(one.lane)).slice(-SHOWN_MAX);
    const known = new Map([...this.list.children].map((el) => [el.dataset.key, el]));
    this.list.replaceChildren(...shown.reverse().map((one) => known.get(one.key) || entryRow(one)));
    const hidden = this.entries.length - shown.length + this.leftOut;
    this.more.hidden = !hidden;
    this.more.textContent = t("not-shown", { count: hidden });
  }
}
