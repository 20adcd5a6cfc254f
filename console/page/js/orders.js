// Orders: what holds, what waits for a second person, and drawing a new one.

import { get, post } from "./api.js";
import { h, table } from "./dom.js";
import { clock, day, metres } from "./format.js";
import { t, word } from "./i18n.js";
import { Editor } from "./editor.js";
import { BaseMap, partsOf } from "./map.js";
import { placesOf, zoneGeometry } from "./geo.js";
import { may, store } from "./store.js";

export function show(root, params) {
  let closed = false;
  let inner = null;

  function go(next) {
    if (inner) inner.close();
    inner = null;
    const [first, second] = next;
    root.className = first === "new" ? "" : "page";
    root.replaceChildren();
    if (first === "new") inner = new Editor(root, second);
    else if (first === "proposal") proposal(second);
    else if (first) one(first);
    else list();
  }

  async function list() {
    const body = h("div", { class: "scroll" });
    const waiting = h("section", { class: "card scroll", hidden: true });
    const input = h("input", { type: "search", "aria-label": t("search-order"), placeholder: t("search-order") });
    const load = async () => {
      const asked = input.value;
      const found = await get(`/v1/orders?search=${encodeURIComponent(asked)}`);
      if (closed || asked !== input.value) return;
      body.replaceChildren(
        table(
          t("orders-count", { count: found.orders.length }),
          [t("order"), t("kind"), t("wearer"), t("protected"), t("state"), t("until"), t("case-number")],
          found.orders.slice(0, 200).map(({ id, state, order }) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, h("a", { href: `#/orders/${id}` }, id)),
              h("td", {}, word(order.kind)),
              h("td", {}, order.wearer_id),
              h("td", {}, order.protected_ids.join(", ") || "–"),
              h("td", {}, word(state)),
              h("td", {}, order.valid_to_ms ? day(order.valid_to_ms) : t("no-end")),
              h("td", {}, order.case_number || "–"),
            ),
          ),
        ),
      );
    };
    root.replaceChildren(
      h("h1", {}, t("page-orders")),
      h("div", { class: "row" }, input, may("propose") ? h("a", { class: "button main", href: "#/orders/new" }, t("order-new")) : null),
      waiting,
      body,
    );
    let timer = 0;
    input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(load, 200);
    });
    if (may("propose") || may("approve")) {
      const { proposals } = await get("/v1/order-proposals");
      waiting.hidden = !proposals.length;
      waiting.replaceChildren(
        h("h2", {}, t("proposals")),
        table(
          "",
          [t("order"), t("kind"), t("wearer"), t("by-whom"), t("time")],
          proposals.map((one) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, h("a", { href: `#/orders/proposal/${one.id}` }, one.order.id)),
              h("td", {}, word(one.order.kind)),
              h("td", {}, one.order.wearer_id),
              h("td", {}, one.by),
              h("td", {}, clock(one.at_ms)),
            ),
          ),
        ),
      );
    }
    await load();
  }

  async function one(id) {
    let found;
    try {
      found = await get(`/v1/orders/${id}`);
    } catch (error) {
      root.replaceChildren(h("p", { class: "error", role: "alert" }, error.words));
      return;
    }
    if (closed) return;
    const { order, earlier, zones } = found;
    draw(order.order, zones, [
      h("h1", {}, `${t("order")} ${id}, ${word(order.state)}`),
      details(order.order, zones),
      earlier.length ? h("p", { class: "dim" }, t("earlier-versions", { versions: earlier.map((old) => old.order.version).join(", ") })) : null,
      may("propose") ? h("a", { class: "button", href: `#/orders/new/${id}` }, t("order-change")) : null,
    ]);
  }

  async function proposal(id) {
    let found;
    try {
      found = await get(`/v1/order-proposals/${id}`);
    } catch (error) {
      root.replaceChildren(h("p", { class: "error", role: "alert" }, error.words));
      return;
    }
    if (closed) return;
    const known = [];
    for (const zone of found.order.zone_ids) if (!found.zones.some((one) => one.id === zone)) known.push(await get(`/v1/zones/${zone}`).catch(() => null));
    const own = found.by === store.session.name;
    const answer = h("p", { role: "status" });
    const reason = h("input", { name: "reason", maxlength: 500 });
    const decide = async (approved) => {
      try {
        const { status } = await post(`/v1/order-proposals/${id}/decisions`, { approved, reason: reason.value });
        if (status === 202) answer.textContent = t("waits-for-watch");
        else proposal(id);
      } catch (error) {
        answer.textContent = error.words;
        answer.className = "error";
      }
    };
    draw(found.order, [...found.zones, ...known.filter(Boolean)], [
      h("h1", {}, `${t("proposal")} ${found.order.id}, ${word(found.state)}`),
      h("p", {}, t("proposed-by", { name: found.by, time: clock(found.at_ms) }), found.reason ? h("q", {}, found.reason) : null),
      found.decided_by ? h("p", {}, t("decided-by", { name: found.decided_by, time: clock(found.decided_ms) }), found.decision_reason ? h("q", {}, found.decision_reason) : null) : null,
      details(found.order, [...found.zones, ...known.filter(Boolean)]),
      found.state === "proposed" && may("approve")
        ? h(
            "div",
            { class: "stack card" },
            own ? h("p", {}, t("four-eyes-own")) : h("p", {}, t("four-eyes")),
            h("label", { class: "field" }, t("reason-for"), reason),
            h("div", { class: "row" }, h("button", { class: "main", disabled: own, onclick: () => decide(true) }, t("approve")), h("button", { onclick: () => decide(false) }, t("decline"))),
            answer,
          )
        : answer,
    ]);
  }

  function draw(order, zones, left) {
    root.className = "";
    const map = new BaseMap();
    inner = map;
    const features = zones.flatMap((zone) => partsOf(zoneGeometry(zone))).map((geometry) => ({ type: "Feature", geometry, properties: { width_m: 2 * (order.buffer_m || 0), hot: false } }));
    map.set("zones", features);
    map.places = features.flatMap(placesOf);
    if (!features.length) map.note(t("order-without-zone"));
    root.replaceChildren(h("div", { class: "editor" }, h("div", { class: "form stack" }, ...left), map.root));
  }

  go(params);
  return {
    go,
    close() {
      closed = true;
      if (inner) inner.close();
    },
  };
}

const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/** An order in words. */
export function details(order, zones) {
  const lines = [];
  const line = (name, value) => value && lines.push(h("dt", {}, name), h("dd", {}, value));
  line(t("kind"), word(order.kind));
  line(t("title"), order.title);
  line(t("authority"), order.authority);
  line(t("case-number"), order.case_number);
  line(t("wearer"), order.wearer_id);
  line(t("protected"), (order.protected_ids || []).join(", "));
  line(t("radius"), order.radius_m ? metres(order.radius_m) : "");
  line(t("warning-ring"), order.warning_m ? metres(order.warning_m) : "");
  line(t("buffer"), order.buffer_m ? metres(order.buffer_m) : "");
  line(t("time-to-contact"), order.time_to_contact_s ? `${order.time_to_contact_s} s` : "");
  line(t("risk-class"), String(order.risk_class));
  line(t("plan"), order.plan_id);
  line(t("from"), day(order.valid_from_ms));
  line(t("until"), order.valid_to_ms ? day(order.valid_to_ms) : t("no-end"));
  line(t("signed"), order.signed_at_ms ? day(order.signed_at_ms) : t("not-yet"));
  line(t("served"), order.served_at_ms ? day(order.served_at_ms) : t("not-yet"));
  line(t("immediately"), t(order.immediately_enforceable ? "yes" : "no"));
  line(t("appeal"), word(order.appeal));
  line(t("version"), String(order.version));
  if (order.schedule) line(t("hours"), order.schedule.weekly.map((one) => `${t(`day-${DAYS[one.day]}`)} ${one.start}–${one.end}`).join(", "));
  line(t("zones"), zones.map((zone) => `${zone.name || zone.id} (${t("version")} ${zone.version})`).join(", "));
  return h("dl", { class: "facts" }, lines);
}
