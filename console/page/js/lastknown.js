// Everybody's last known position on paper: for when the service is down.

import { get } from "./api.js";
import { askReason } from "./cases.js";
import { h, table } from "./dom.js";
import { age, day, degrees, metres } from "./format.js";
import { t, word } from "./i18n.js";

export function show(root) {
  root.className = "page";
  const list = h("div", { class: "scroll" });
  root.replaceChildren(
    h("h1", {}, t("last-known")),
    h("p", { class: "no-print" }, t("last-known-words")),
    h("div", { class: "row no-print" }, h("button", { class: "main", onclick: ask }, t("show")), h("button", { onclick: () => print() }, t("print"))),
    list,
  );

  function ask() {
    askReason(t("last-known"), async (reason) => {
      const found = await get(`/v1/last-known-positions?reason=${encodeURIComponent(reason)}`);
      list.replaceChildren(
        table(
          t("last-known-at", { time: day(found.now_ms), count: found.lines.length }),
          [t("person"), t("case"), t("device"), t("age"), t("accuracy"), t("place"), t("battery")],
          found.lines.map(({ person_id: person, role, device_id: device, case_ids: cases, fix, battery_pct: battery }) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, `${person} (${word(role)})`),
              h("td", {}, cases.join(", ")),
              h("td", {}, device),
              h("td", { class: "num" }, fix ? age(found.now_ms - fix.time_ms) : t("never")),
              h("td", { class: "num" }, fix && fix.accuracy_m !== null ? `± ${metres(fix.accuracy_m)}` : "–"),
              h("td", { class: "num nowrap" }, fix ? `${degrees(fix.lat_e7)}, ${degrees(fix.lon_e7)}` : "–"),
              h("td", { class: "num" }, battery === null ? "–" : `${battery} %`),
            ),
          ),
        ),
      );
    });
  }
  ask();
  return {};
}
