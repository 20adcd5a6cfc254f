// The list that says what the map says: where everybody is, how old, how exact.

import { h, table } from "./dom.js";
import { age, compass, degrees, metres, speed } from "./format.js";
import { t, word } from "./i18n.js";
import { now } from "./store.js";

const MECHANISM = ["unknown", "gnss", "wifi", "cell", "beacon"];

export function positionsTable(root, found) {
  const rows = found.positions.map(({ person_id: person, role, device_id: device, fix }) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, `${person} `, h("span", { class: "dim" }, word(role))),
      h("td", {}, device),
      fix
        ? [
            h("td", { class: "num strong" }, age(now() - fix.time_ms)),
            h("td", { class: "num" }, fix.accuracy_m === null ? "?" : `± ${metres(fix.accuracy_m)}`),
            h("td", { class: "num nowrap" }, `${degrees(fix.lat_e7)}, ${degrees(fix.lon_e7)}`),
            h("td", { class: "num" }, fix.speed_m_s === null ? "–" : [speed(fix.speed_m_s), fix.speed_m_s > 0.3 && fix.heading_deg !== null ? compass(fix.heading_deg) : ""].join(" ").trim()),
            h("td", {}, fix.mechanism === null ? "–" : word(MECHANISM[fix.mechanism] ?? "unknown")),
          ]
        : h("td", { colspan: 5 }, t("never-seen")),
    ),
  );
  const heads = [t("person"), t("device"), t("age"), t("accuracy"), t("place"), t("speed"), t("by-what")];
  const body = rows.length ? rows : [h("tr", {}, h("td", { colspan: 7 }, t("positions-none")))];
  root.replaceChildren(table(t("positions-last"), heads, body));
}
