// Large words when something is wrong with the service itself, or when there is too much of everything.

import { h } from "./dom.js";
import { clock } from "./format.js";
import { t, word } from "./i18n.js";
import { may, store } from "./store.js";

/** What is wrong, most serious first: [priority, headline, explanation]. */
export function troubles() {
  const found = [];
  if (!store.connected) return [["p1", t("trouble-connection"), t("trouble-connection-why")]];
  const parts = store.health.parts.filter((part) => part.code);
  const of = (name) => parts.filter((part) => part.part.split(" ")[0] === name);
  for (const part of of("store")) found.push(["p1", t("trouble-store"), t("trouble-store-why", { since: clock(part.since_ms) })]);
  for (const part of of("watch"))
    found.push(["p1", t(part.code === "behind" ? "trouble-watch-behind" : "trouble-watch"), `${t("trouble-watch-why", { since: clock(part.since_ms) })} ${part.detail}`]);
  for (const part of of("notify")) found.push(["p1", t("trouble-notify"), t("trouble-notify-why", { since: clock(part.since_ms) })]);
  for (const part of of("intake")) found.push(["p2", t("trouble-intake"), t("trouble-intake-why", { since: clock(part.since_ms) })]);
  if (!store.health.caught_up) found.push(["p2", t("trouble-starting"), t("trouble-starting-why")]);
  if (store.tick.flood) found.push(["p3", t("trouble-flood", { count: store.tick.pages_10min }), t("trouble-flood-why")]);
  return found;
}

export function drawBanners(root) {
  const wanted = troubles();
  const key = JSON.stringify(wanted);
  if (root.dataset.key === key) return;
  root.dataset.key = key;
  root.replaceChildren(
    ...wanted.map(([priority, headline, why], index) =>
      h(
        "div",
        { class: `banner ${priority}` },
        h("span", {}, headline),
        h("span", { class: "why grow" }, why),
        index === 0 && priority === "p1" && may("last-known") ? h("a", { class: "button", href: "#/last-known" }, t("last-known")) : null,
      ),
    ),
  );
}

/** The parts of the service in words, for the wall. */
export const partWords = (part) => `${word(part.part.split(" ")[0])}: ${part.code ? word(part.code) : t("good")}`;
