// Devices and their health, without where they are.

import { get } from "./api.js";
import { h, table } from "./dom.js";
import { age, clock } from "./format.js";
import { t, word } from "./i18n.js";
import { entryRow } from "./timeline.js";

export const DEVICE_HEADS = () => [t("device"), t("person"), t("last-fix"), t("battery"), t("stored-frames"), t("firmware")];

export function deviceRows(devices, now_ms) {
  return devices.map((one) => {
    const old = one.last_fix_ms === null ? null : now_ms - one.last_fix_ms;
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, h("a", { href: `#/devices/${one.id}` }, one.id), one.enabled ? "" : ` (${t("disabled")})`),
      h("td", {}, one.person_id ? `${one.person_id} ` : "–", h("span", { class: "dim" }, one.person_id ? word(one.role) : "")),
      h("td", { class: old !== null && old > 300_000 ? "num strong" : "num" }, old === null ? t("never") : age(old)),
      h("td", { class: one.battery_pct !== null && one.battery_pct <= 20 ? "num strong" : "num" }, one.battery_pct === null ? "–" : `${one.battery_pct} %`),
      h("td", { class: "num" }, one.stored_frames === null ? "–" : String(one.stored_frames)),
      h("td", {}, one.firmware ?? "–"),
    );
  });
}

export function show(root, params) {
  root.className = "page";
  let closed = false;

  async function go([id]) {
    if (id) {
      try {
        const found = await get(`/v1/devices/${id}`);
        if (closed) return;
        root.replaceChildren(
          h("h1", {}, `${t("device")} ${id}`),
          h("div", { class: "card scroll" }, table(t("health-at", { time: clock(found.now_ms) }), DEVICE_HEADS(), deviceRows([found.device], found.now_ms))),
          h("section", { class: "timeline" }, h("h2", {}, t("devices-said")), found.log.length ? h("ol", {}, found.log.map(entryRow)) : h("p", { class: "dim" }, t("none"))),
        );
      } catch (error) {
        root.replaceChildren(h("p", { class: "error", role: "alert" }, error.words));
      }
      return;
    }
    const list = h("div", { class: "scroll" });
    const input = h("input", { type: "search", "aria-label": t("search-device"), placeholder: t("search-device") });
    const load = async () => {
      const asked = input.value;
      const found = await get(`/v1/devices?search=${encodeURIComponent(asked)}`);
      if (closed || asked !== input.value) return;
      list.replaceChildren(table(t("devices-count", { count: found.devices.length }), DEVICE_HEADS(), deviceRows(found.devices.slice(0, 300), found.now_ms)));
    };
    let timer = 0;
    input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(load, 200);
    });
    root.replaceChildren(h("h1", {}, t("page-devices")), input, list);
    input.focus();
    await load();
  }

  go(params);
  return { go, close: () => (closed = true) };
}
