// The hand-over of the shift: what is open, what was said about it, to whom the room goes.

import { get, post } from "./api.js";
import { h, say, shape, table } from "./dom.js";
import { clock, day, span, who } from "./format.js";
import { t, word } from "./i18n.js";
import { GROUPS, now, queues, store } from "./store.js";

export function show(root) {
  root.className = "page";
  const answer = h("p", { role: "status" });
  const earlier = h("section", { class: "card scroll" });
  const all = queues();
  const open = GROUPS.flatMap((group) => all[group]);
  const rows = open.map((one) =>
    h(
      "tr",
      {},
      h("td", {}, h("input", { type: "checkbox", name: "incident", value: one.id, checked: true, "aria-label": `${word(one.alarms[0]?.alarm_class)} ${who(one)}` })),
      h("th", { scope: "row", class: "row" }, shape(one.priority, { small: true, filled: one.due_ms !== null, label: t(`priority-${one.priority}`) }), h("a", { href: `#/incidents/${one.id}` }, `${word(one.alarms[0]?.alarm_class)} ${who(one)}`)),
      h("td", { class: "num" }, span(now() - one.opened_ms)),
      h("td", {}, one.owner || t("nobody")),
    ),
  );
  const to = h("input", { name: "to", required: true, maxlength: 64, list: "shift-to" });
  const names = h("datalist", { id: "shift-to" });
  const form = h(
    "form",
    { class: "card stack" },
    h("h2", {}, t("shift-open")),
    open.length ? h("div", { class: "scroll" }, table("", [t("spoken-about"), t("incident"), t("lasted"), t("in-hand-of")], rows)) : h("p", {}, t("queue-empty")),
    h("label", { class: "field" }, t("shift-said"), h("textarea", { name: "text", maxlength: 2000 })),
    h("label", { class: "field" }, t("shift-to"), to, names),
    h("div", { class: "row" }, h("button", { class: "main", type: "submit" }, t("shift-hand-over")), h("button", { type: "button", onclick: () => print() }, t("print"))),
    answer,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const data = new FormData(form);
    try {
      const { status } = await post("/v1/shifts", { to: data.get("to"), text: data.get("text"), incidents: data.getAll("incident") });
      say(answer, status === 202 ? t("waits-for-watch") : t("shift-done", { name: data.get("to") }));
      await load();
    } catch (error) {
      say(answer, error.words);
    }
  });

  async function load() {
    const [found, { rosters }] = await Promise.all([get("/v1/shifts"), get("/v1/rosters", { background: true })]);
    names.replaceChildren(...found.on_duty.filter((name) => name !== store.session.name).map((name) => h("option", { value: name })));
    earlier.replaceChildren(
      h("h2", {}, t("shift-earlier")),
      h("p", {}, t("on-duty", { names: found.on_duty.join(", ") || "–" })),
      ...rosters.map((one) => h("p", {}, t("on-duty-by", { roster: one.roster.title || one.roster.id, names: one.on_duty.join(", ") || t("nobody") }))),
      !found.shifts.length ? h("p", { class: "dim" }, t("none")) : table(
        "",
        [t("time"), t("from"), t("to"), t("shift-said"), t("page-incidents")],
        found.shifts.map((one) =>
          h("tr", {}, h("td", { class: "nowrap" }, day(one.at_ms)), h("td", {}, one.by), h("td", {}, one.to), h("td", {}, one.text), h("td", { class: "num" }, String(one.incidents.length))),
        ),
      ),
    );
  }
  root.replaceChildren(h("h1", {}, t("page-shift")), h("p", { class: "hint" }, t("shift-words", { name: store.session.name, time: clock(now()) })), h("div", { class: "cards" }, form, earlier));
  load().catch((error) => say(answer, error.words));
  return {};
}
