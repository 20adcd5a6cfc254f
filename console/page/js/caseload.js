// Every case in one line, those that need somebody first, and why.

import { get } from "./api.js";
import { h, table } from "./dom.js";
import { age, clock, day } from "./format.js";
import { t, word } from "./i18n.js";

const AGAIN_MS = 15_000;

export function show(root) {
  root.className = "page";
  let timer = 0;
  let only = "";
  const when = h("p", { class: "hint" });
  const list = h("div", { class: "scroll" });
  const input = h("input", { type: "search", "aria-label": t("search-case"), placeholder: t("search-case"), oninput: () => ((only = input.value.toLowerCase()), draw()) });
  let found = { lines: [], now_ms: 0 };
  root.replaceChildren(h("h1", {}, t("page-caseload")), h("div", { class: "row" }, input, when), list);

  function draw() {
    const lines = found.lines.filter((one) => [one.case_id, one.wearer_id, ...one.protected_ids].join(" ").toLowerCase().includes(only));
    when.textContent = t("caseload-at", { time: clock(found.now_ms), count: lines.length });
    const at = list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    list.replaceChildren(
      table(
        t("page-caseload"),
        [t("case"), t("people"), t("look-because"), t("open-incidents"), t("last-14-days"), t("last-fix"), t("battery"), t("orders-until")],
        lines.slice(0, 300).map((one) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, h("a", { href: `#/cases/${one.case_id}` }, one.case_id)),
            h("td", {}, [one.wearer_id, ...one.protected_ids].filter(Boolean).join(" → ")),
            h("td", { class: one.reasons.length ? "strong" : "" }, one.reasons.map(word).join(", ") || "–"),
            h("td", { class: "num" }, String(one.open_incidents || "")),
            h("td", {}, Object.entries(one.alarm_classes_14d).map(([name, count]) => `${word(name)} ${count}×`).join(", ") || "–"),
            h("td", { class: "num" }, one.last_fix_age_ms === null ? t("never") : age(one.last_fix_age_ms)),
            h("td", { class: "num" }, one.battery_pct === null ? "–" : `${one.battery_pct} %`),
            h("td", {}, one.expires_ms ? day(one.expires_ms) : one.orders ? t("no-end") : t("none")),
          ),
        ),
        { unseenCaption: true },
      ),
    );
    // Somebody may go through the list by keyboard when it is loaded anew.
    if (at) list.querySelector(`[href="${CSS.escape(at)}"]`)?.focus({ preventScroll: true });
  }

  async function load(background) {
    try {
      found = await get("/v1/caseload", { background });
      draw();
    } catch (error) {
      when.textContent = error.words;
    }
    timer = setTimeout(() => load(true), AGAIN_MS);
  }
  load(false);
  return { close: () => clearTimeout(timer) };
}
