// The room: the queue, and one incident at a time beside its map.

import { get } from "./api.js";
import { h } from "./dom.js";
import { t } from "./i18n.js";
import { IncidentPanel } from "./incident.js";
import { IncidentMap } from "./map.js";
import { positionsTable } from "./positions.js";
import { Queue } from "./queue.js";
import { may, store } from "./store.js";

const POSITIONS_MS = 1_000;
const REST_MS = 80;

export function show(root, [first]) {
  const queue = new Queue({ onselect: (id) => (location.hash = `#/incidents/${id}`) });
  const list = h("div", { class: "positions", tabindex: "0", role: "region", "aria-label": t("positions") });
  const map = new IncidentMap();
  const middle = h("section", { class: "middle", "aria-label": t("map") }, map.root, list);
  const side = h("section", { class: "incident", "aria-label": t("incident") });
  root.replaceChildren(h("div", { class: "room" }, queue.root, middle, side));
  let panel = null;
  let timer = 0;
  let selected = null;
  let asking = null;
  let settling = 0;
  let known = null;

  // A map is dear to draw: only for the one at which somebody stops on their way through the queue.
  function settle(id) {
    clearTimeout(settling);
    known = null;
    map.cover();
    settling = setTimeout(() => {
      settling = 0;
      map.clear();
      if (known) map.orders(known);
      positions(id, true);
    }, REST_MS);
  }

  function go([id]) {
    if (id && !store.incidents.has(id)) id = id && id.startsWith("i-") ? id : undefined;
    if (!id) {
      id = queue.order()[0];
      if (id) {
        history.replaceState(null, "", `#/incidents/${id}`);
      }
    }
    if (id === selected) return;
    if (panel) panel.close();
    clearTimeout(timer);
    if (asking) asking.abort();
    selected = id || null;
    queue.select(selected);
    list.replaceChildren();
    if (!selected) {
      clearTimeout(settling);
      map.clear();
      side.replaceChildren(h("p", { class: "empty" }, t("incident-none")));
      map.note(t("map-nobody"));
      panel = null;
      return;
    }
    settle(selected);
    panel = new IncidentPanel(side, selected, {
      onorders: (orders) => {
        known = orders;
        if (!settling) map.orders(orders);
      },
    });
  }

  async function positions(id, firstTime = false) {
    if (!may("wearer-position") && !may("protected-position")) {
      map.note(t("map-no-right"));
      return;
    }
    asking = new AbortController();
    try {
      const found = await get(`/v1/incidents/${id}/positions`, { background: !firstTime, signal: asking.signal });
      if (id !== selected) return;
      map.positions(found, { fit: firstTime });
      positionsTable(list, found);
      if (panel) panel.positions(found);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (id === selected && error.status) map.note(error.words);
    }
    if (id === selected && store.incidents.get(id)?.state !== "closed") timer = setTimeout(() => positions(id), POSITIONS_MS);
  }

  // The first of an empty queue is chosen by itself, after the queue was drawn.
  const emptied = () =>
    requestAnimationFrame(() => {
      if (!selected && panel === null && queue.order().length) go([]);
    });
  store.addEventListener("incidents", emptied);
  go([first]);
  queue.list.focus({ preventScroll: true });

  return {
    go,
    key(key) {
      if (key === "j" || key === "k") queue.move(key === "j" ? 1 : -1);
      else if (key === "ArrowDown" || key === "ArrowUp") {
        if (document.activeElement !== document.body) return false;
        queue.move(key === "ArrowDown" ? 1 : -1);
      } else return Boolean(panel && panel.key(key));
      return true;
    },
    close() {
      panel = panel || {};
      store.removeEventListener("incidents", emptied);
      clearTimeout(timer);
      clearTimeout(settling);
      if (asking) asking.abort();
      selected = null;
      queue.close();
      if (panel.close) panel.close();
      map.close();
    },
  };
}
