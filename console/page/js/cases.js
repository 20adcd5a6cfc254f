// Cases: who belongs together, what holds for them, what happened; positions only with a reason.

import { get } from "./api.js";
import { byHand } from "./byhand.js";
import { dialog, h, shape, table } from "./dom.js";
import { clock, day, span, who } from "./format.js";
import { t, word } from "./i18n.js";
import { positionsTable } from "./positions.js";
import { may, now, store } from "./store.js";
import { entryRow } from "./timeline.js";
import { deviceRows, DEVICE_HEADS } from "./devices.js";

export function show(root, params) {
  root.className = "page";
  let closed = false;

  function go([id]) {
    root.replaceChildren();
    if (id) one(id);
    else search();
  }

  async function search() {
    const list = h("div", {});
    const input = h("input", { type: "search", name: "search", "aria-label": t("search-case"), placeholder: t("search-case") });
    let asked = "";
    const load = async () => {
      asked = input.value;
      const found = await get(`/v1/cases?search=${encodeURIComponent(asked)}`);
      if (closed || asked !== input.value) return;
      list.replaceChildren(
        table(
          t("cases-count", { count: found.cases.length }),
          [t("case"), t("wearer"), t("protected"), t("plan"), t("open-incidents")],
          found.cases.slice(0, 200).map((one) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, h("a", { href: `#/cases/${one.id}` }, one.id)),
              h("td", {}, one.wearer_id || "–"),
              h("td", {}, one.protected_ids.join(", ") || "–"),
              h("td", {}, one.plan_id || "–"),
              h("td", { class: "num" }, String(openOf(one).length || "")),
            ),
          ),
        ),
      );
    };
    let timer = 0;
    input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(load, 200);
    });
    root.replaceChildren(h("h1", {}, t("page-cases")), input, list);
    input.focus();
    await load();
  }

  const openOf = (one) => [...store.incidents.values()].filter((incident) => incident.state === "open" && incident.case_id === one.id);

  async function one(id) {
    let found;
    try {
      found = await get(`/v1/cases/${id}`);
    } catch (error) {
      root.replaceChildren(h("p", { class: "error", role: "alert" }, error.words));
      return;
    }
    if (closed) return;
    const people = [found.case.wearer_id, ...found.case.protected_ids].filter(Boolean);
    const looked = h("div", {});
    root.replaceChildren(
      h("h1", {}, `${t("case")} ${found.case.id}`),
      h(
        "div",
        { class: "cards" },
        h(
          "section",
          { class: "card" },
          h("h2", {}, t("people")),
          h("dl", { class: "facts" }, [
            h("dt", {}, t("wearer")),
            h("dd", {}, found.case.wearer_id || "–"),
            h("dt", {}, t("protected")),
            h("dd", {}, found.case.protected_ids.join(", ") || "–"),
            h("dt", {}, t("plan")),
            h("dd", {}, found.case.plan_id || "–"),
            h("dt", {}, t("victim-policy")),
            h("dd", {}, word(found.case.victim_policy)),
          ]),
          may("look-up")
            ? h(
                "div",
                { class: "row" },
                people.map((person) => h("button", { onclick: () => lookUp(person, looked) }, t("look-up", { name: person }))),
                h("button", { onclick: () => replay(found.case.id) }, t("replay")),
              )
            : null,
          looked,
          byHand(found.case),
        ),
        h(
          "section",
          { class: "card scroll" },
          h("h2", {}, t("page-orders")),
          found.orders.length ? table("", [t("order"), t("kind"), t("state"), t("until")], found.orders.map(orderRow)) : h("p", { class: "dim" }, t("none")),
        ),
        h(
          "section",
          { class: "card scroll" },
          h("h2", {}, t("page-incidents")),
          found.incidents.length ? table("", [t("incident"), t("opened"), t("lasted"), t("how-it-ended")], found.incidents.map(incidentRow)) : h("p", { class: "dim" }, t("none")),
        ),
        h("section", { class: "card scroll" }, h("h2", {}, t("page-devices")), table("", DEVICE_HEADS(), deviceRows(found.devices, found.now_ms))),
        h("section", { class: "card timeline" }, h("h2", {}, t("devices-said")), found.log.length ? h("ol", {}, found.log.map(entryRow)) : h("p", { class: "dim" }, t("none"))),
      ),
    );
  }

  function lookUp(person, place) {
    askReason(t("look-up", { name: person }), async (reason) => {
      const found = await get(`/v1/persons/${person}/positions?reason=${encodeURIComponent(reason)}`);
      positionsTable(place, found);
    });
  }

  function replay(id) {
    const to = new Date(now() - new Date().getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
    dialog(
      t("replay"),
      [
        h("p", {}, t("reason-words")),
        h("label", { class: "field" }, t("replay-until"), h("input", { type: "datetime-local", name: "to", value: to, required: true })),
        h("label", { class: "field" }, t("replay-hours"), h("input", { type: "number", name: "hours", min: 1, max: 6, value: "1", required: true })),
        h("label", { class: "field" }, t("reason-for"), h("input", { name: "reason", required: true, minlength: 8, maxlength: 500 })),
      ],
      {
        submit: t("replay"),
        cancel: t("cancel"),
        done: async (form) => {
          const until = new Date(form.get("to")).getTime() + 60_000;
          const from = until - Number(form.get("hours")) * 3_600_000;
          sessionStorage.setItem("replay-reason", form.get("reason"));
          location.hash = `#/replay/case/${id}/${from}/${until}`;
        },
      },
    );
  }

  go(params);
  return { go, close: () => (closed = true) };
}

/** Ask why; `done` gets the words. */
export function askReason(title, done) {
  dialog(title, [h("p", {}, t("reason-words")), h("label", { class: "field" }, t("reason-for"), h("input", { name: "reason", required: true, minlength: 8, maxlength: 500 }))], {
    submit: t("show"),
    cancel: t("cancel"),
    done: (form) => done(form.get("reason")),
  });
}

function orderRow({ id, state, order }) {
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, may("orders") ? h("a", { href: `#/orders/${id}` }, id) : id),
    h("td", {}, word(order.kind)),
    h("td", {}, word(state)),
    h("td", {}, order.valid_to_ms ? day(order.valid_to_ms) : t("no-end")),
  );
}

function incidentRow(one) {
  const lead = one.alarms[0];
  const end = one.closed_ms ?? now();
  return h(
    "tr",
    {},
    h(
      "th",
      { scope: "row" },
      h("a", { href: `#/incidents/${one.id}`, class: "row" }, shape(one.priority, { small: true, filled: one.due_ms !== null, label: t(`priority-${one.priority}`) }), `${word(lead?.alarm_class)} ${who(one)}`),
    ),
    h("td", { class: "nowrap" }, clock(one.opened_ms)),
    h("td", { class: "num" }, span(end - one.opened_ms)),
    h("td", {}, one.state === "open" ? word("open") : [word(one.disposition), one.closed_by].filter(Boolean).join(" ") || t("itself")),
  );
}
