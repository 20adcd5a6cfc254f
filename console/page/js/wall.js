// For the wall: how the room is doing, readable from everywhere in it.

import { get } from "./api.js";
import { partWords } from "./banners.js";
import { h, say, shape, table } from "./dom.js";
import { span, who } from "./format.js";
import { t, word } from "./i18n.js";
import { now, queueOf, store } from "./store.js";

const ROWS = 8;
const AGAIN_MS = 5_000;

export function show(root) {
  root.className = "";
  let figures = null;
  let timer = 0;
  const boxes = {};
  const box = (name) => {
    const value = h("b");
    boxes[name] = { value, root: h("div", { class: "figure" }, value, h("span", {}, t(`wall-${name}`))) };
    return boxes[name].root;
  };
  const list = h("div", { class: "figure wide" });
  const response = h("div", { class: "figure wide" });
  const health = h("div", { class: "figure all" });
  root.replaceChildren(
    h("h1", { class: "unseen" }, t("page-wall")),
    h("div", { class: "wall" }, ["waiting", "oldest", "overdue", "open", "pages", "day", "flood", "duty"].map(box), list, response, health),
  );

  function draw() {
    const waiting = queueOf("waiting");
    const put = (name, text, mark = "") => {
      say(boxes[name].value, text);
      boxes[name].root.className = `figure ${mark}`.trim();
    };
    const oldest = waiting.reduce((least, one) => Math.min(least, one.due_ms), Infinity);
    const late = oldest < now();
    put("waiting", String(store.tick.waiting), store.tick.critical ? "p1" : store.tick.waiting ? "p2" : "");
    put("oldest", oldest === Infinity ? "–" : late ? `+${span(now() - oldest)}` : span(oldest - now()), late ? "late-figure" : "");
    put("overdue", String(store.tick.overdue), store.tick.overdue ? "p1" : "");
    put("duty", String(store.tick.on_duty));
    put("pages", String(store.tick.pages_10min), store.tick.flood ? "p2" : "");
    if (figures) {
      put("open", String(figures.open_incidents));
      put("day", String(figures.pages_24h));
      put("flood", `${figures.flood_pct_24h} %`, figures.flood ? "p2" : "");
    }
    const rows = waiting.slice(0, ROWS).map((one) =>
      h("tr", {}, h("td", {}, shape(one.priority, { label: t(`priority-${one.priority}`) })), h("th", { scope: "row" }, `${word(one.alarms[0]?.alarm_class)} ${who(one)}`), h("td", { class: "num" }, h("span", { class: one.due_ms < now() ? "late" : "" }, one.due_ms < now() ? `+${span(now() - one.due_ms)}` : span(one.due_ms - now() + 999)))),
    );
    list.replaceChildren(rows.length ? table(t("wall-queue"), [t("priority"), t("incident"), t("to-respond")], rows) : h("div", {}, h("p", { class: "calm" }, t("wall-queue")), h("p", {}, t("wall-nobody"))));
    health.replaceChildren(h("span", {}, store.health.parts.map(partWords).join("   ·   ")));
  }

  function drawResponse() {
    const line = (name, one) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, t(`response-${name}`)),
        h("td", { class: "num" }, String(one.answers)),
        h("td", { class: "num" }, one.median_s === null ? "–" : `${Math.round(one.median_s)} s`),
        h("td", { class: "num" }, one.within_first_pct === null ? "–" : `${one.within_first_pct} % (80 %)`),
        h("td", { class: "num" }, one.within_second_pct === null ? "–" : `${one.within_second_pct} % (98,5 %)`),
      );
    response.replaceChildren(
      table(t("wall-response"), [t("kind"), t("answers"), t("median"), t("first-target"), t("second-target")], [line("urgent", figures.urgent), line("other", figures.other)]),
      h("p", {}, t("wall-standing", { standing: figures.standing, stale: figures.stale, silenced: figures.silenced })),
      h("p", {}, Object.entries(figures.priorities_24h).map(([name, count]) => `${t(`priority-${name}`)} ${count}`).join("  ·  ")),
    );
  }

  async function load() {
    try {
      figures = await get("/v1/indicators", { background: true });
      drawResponse();
      draw();
    } catch {
      // The banner says what is wrong.
    }
    timer = setTimeout(load, AGAIN_MS);
  }
  store.addEventListener("tick", draw);
  load();
  draw();
  return {
    close() {
      clearTimeout(timer);
      store.removeEventListener("tick", draw);
    },
  };
}
