// Looking back: who was where, what was said about it, and what another radius would have meant.

import { get } from "./api.js";
import { h, s, say } from "./dom.js";
import { age, clock, metres, span } from "./format.js";
import { circle, distance, placesOf, zoneGeometry } from "./geo.js";
import { t } from "./i18n.js";
import { BaseMap, Marker, partsOf } from "./map.js";
import { positionsTable } from "./positions.js";
import { at, distances } from "./spark.js";
import { may } from "./store.js";
import { entryRow } from "./timeline.js";

const STEP_MS = 1_000;
const SPEEDS = [1, 10, 30, 60, 300];

class ReplayMap extends BaseMap {
  constructor() {
    super();
    this.markers = new Map();
  }

  async drawn() {
    this.library = await import("/vendor/maplibre-gl.mjs");
    if (this.redraw) this.redraw();
  }

  async orders(orders) {
    const features = [];
    for (const { order } of orders) {
      for (const id of order.zone_ids) {
        const zone = await get(`/v1/zones/${id}`, { background: true }).catch(() => null);
        if (!zone) continue;
        for (const part of partsOf(zoneGeometry(zone))) features.push({ type: "Feature", geometry: part, properties: { width_m: 2 * order.buffer_m, hot: false } });
      }
    }
    this.set("zones", features);
    this.places.push(...features.flatMap(placesOf));
  }

  show(moment) {
    if (!this.loaded || !this.library) return;
    const errors = [];
    const rings = [];
    const seen = new Set();
    for (const { device_id: device, person_id: person, role, point, radius } of moment) {
      if (!point) continue;
      seen.add(device);
      const [, , lat7, lon7, accuracy] = point;
      const [lon, lat] = [lon7 / 1e7, lat7 / 1e7];
      if (!this.markers.has(device)) this.markers.set(device, new Marker(this, this.library, role));
      const marker = this.markers.get(device);
      marker.put(lon, lat);
      marker.label.replaceChildren(h("b", {}, person));
      if (accuracy) errors.push({ type: "Feature", properties: {}, geometry: { type: "Polygon", coordinates: [circle(lon, lat, accuracy)] } });
      if (radius) rings.push({ type: "Feature", properties: { hot: false }, geometry: { type: "LineString", coordinates: circle(lon, lat, radius, 72) } });
    }
    for (const [device, marker] of this.markers) {
      if (seen.has(device)) continue;
      marker.remove();
      this.markers.delete(device);
    }
    this.set("errors", errors);
    this.set("rings", rings);
  }
}

export function show(root, params) {
  root.className = "";
  let closed = false;
  let playing = 0;
  const map = new ReplayMap();
  const log = h("div");
  const side = h("div", { class: "side timeline", tabindex: "0", role: "region", "aria-label": t("timeline") });
  const nowText = h("div", { class: "now" }, h("time", {}), " ", h("span", { class: "dim big" }));
  const slider = h("input", { type: "range", step: STEP_MS, "aria-label": t("replay-time") });
  const play = h("button", { class: "main", onclick: toggle }, t("play"));
  const speed = h("select", { "aria-label": t("replay-speed") }, SPEEDS.map((one) => h("option", { value: one, selected: one === 30 }, `${one}×`)));
  const radius = h("input", { type: "number", min: 10, max: 100_000, step: 10, "aria-label": t("what-if-radius") });
  const whatIf = h("p", { role: "status" });
  const chart = h("div");
  const table = h("div", { class: "positions" });
  side.append(table, h("h2", {}, t("timeline")), log);
  const words = h("p", { class: "hint" });
  const controls = h(
    "div",
    { class: "controls" },
    h("div", { class: "row" }, nowText, h("span", { class: "grow" }), play, speed),
    slider,
    chart,
    h("div", { class: "row" }, h("label", { class: "row" }, t("what-if-radius"), radius, "m"), whatIf),
    words,
  );
  root.replaceChildren(h("h1", { class: "unseen" }, t("replay")), h("div", { class: "replay" }, map.root, controls, side));
  let found = null;
  let pair = null;
  let frame = 0;

  async function load([kind, id, from, to]) {
    try {
      if (kind === "incident") found = await get(`/v1/incidents/${id}/replay`);
      else {
        const reason = sessionStorage.getItem("replay-reason") || "";
        found = await get(`/v1/cases/${id}/replay?fromMs=${from}&toMs=${to}&reason=${encodeURIComponent(reason)}`);
      }
    } catch (error) {
      root.replaceChildren(h("p", { class: "error", role: "alert" }, error.words || String(error)));
      return;
    }
    if (closed) return;
    slider.min = found.from_ms;
    slider.max = found.to_ms;
    const raised = found.entries.find((one) => one.what === "raised");
    slider.value = raised ? raised.at_ms : found.from_ms;
    say(words, found.complete ? t("replay-whole") : t("replay-cut", { time: clock(found.until_ms) }));
    log.replaceChildren(h("ol", {}, found.entries.map(entryRow)));
    log.addEventListener("click", (event) => {
      const row = event.target.closest("li");
      if (row) jump(Number(row.dataset.at));
    });
    const tracks = found.tracks.filter((one) => one.points.length);
    map.places = tracks.flatMap((one) => one.points.map((point) => [point[3] / 1e7, point[2] / 1e7]));
    map.set("tracks", tracks.map((one) => ({ type: "Feature", properties: {}, geometry: { type: "LineString", coordinates: one.points.map((point) => [point[3] / 1e7, point[2] / 1e7]) } })).filter((one) => one.geometry.coordinates.length > 1));
    const ban = found.orders.map((one) => one.order).find((one) => one.kind === "contact-ban");
    radius.value = ban ? ban.radius_m : 500;
    const wearer = found.tracks.filter((one) => one.role === "wearer").flatMap((one) => one.points);
    const other = found.tracks.filter((one) => one.role !== "wearer").flatMap((one) => one.points);
    if (may("distance") && wearer.length && other.length) pair = distances(sorted(wearer), sorted(other), (point) => [point[2], point[3]]);
    radius.closest("label").hidden = !pair;
    map.redraw = draw;
    map.orders(found.orders);
    drawChart();
    draw();
    map.fit();
  }

  const sorted = (points) => [...points].sort((one, two) => one[0] - two[0]);

  function moment(ms) {
    const limit = pair ? Number(radius.value) || 0 : 0;
    return found.tracks.map((track) => ({ ...track, point: at(track.points, ms), radius: track.role === "wearer" ? 0 : limit }));
  }

  function draw() {
    frame = 0;
    if (!found) return;
    const ms = Number(slider.value);
    const people = moment(ms);
    say(nowText.firstChild, clock(ms));
    slider.setAttribute("aria-valuetext", clock(ms));
    const wearer = people.find((one) => one.role === "wearer" && one.point);
    const other = people.find((one) => one.role !== "wearer" && one.point);
    say(nowText.lastChild, pair && wearer && other ? metres(distance(wearer.point[2], wearer.point[3], other.point[2], other.point[3])) : "");
    map.show(people);
    drawTable(people, ms);
    const rows = [...side.querySelectorAll("li")];
    const current = rows.filter((row) => Number(row.dataset.at) <= ms).at(-1);
    for (const row of rows) {
      if (row === current) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
    if (current && playing) current.scrollIntoView({ block: "nearest" });
    const line = chart.querySelector(".cursor");
    if (line) {
      const x = (1000 * (ms - found.from_ms)) / Math.max(1, found.to_ms - found.from_ms);
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
    }
  }

  function drawTable(people, ms) {
    const rows = people.map(({ person_id, role, device_id, point }) => ({
      person_id,
      role,
      device_id,
      track: [],
      fix: point ? { time_ms: point[0], lat_e7: point[2], lon_e7: point[3], accuracy_m: point[4], speed_m_s: point[5], heading_deg: null, mechanism: null } : null,
    }));
    positionsTable(table, { positions: rows });
    for (const [index, cell] of [...table.querySelectorAll("tbody tr")].entries()) {
      const fix = rows[index]?.fix;
      if (fix) cell.children[2].textContent = age(ms - fix.time_ms);
    }
  }

  function drawChart() {
    chart.replaceChildren();
    whatIf.textContent = "";
    if (!pair || pair.length < 2) return;
    const limit = Number(radius.value) || 0;
    const most = Math.max(...pair.map((one) => one[1]), limit) * 1.05;
    const width = 1000;
    const height = 140;
    const x = (ms) => (width * (ms - found.from_ms)) / Math.max(1, found.to_ms - found.from_ms);
    const y = (m) => height - 16 - (m / most) * (height - 24);
    const spans = within(pair, limit);
    const path = pair.map(([ms, m], index) => `${index && ms - pair[index - 1][0] < 300_000 ? "L" : "M"}${x(ms).toFixed(1)} ${y(m).toFixed(1)}`).join("");
    const total = spans.reduce((sum, [from, to]) => sum + to - from, 0);
    chart.append(
      s(
        "svg",
        { class: "chart spark", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": t("chart-words", { count: spans.length, time: span(total) }) },
        spans.map(([from, to]) => s("rect", { class: "under", x: x(from), width: Math.max(2, x(to) - x(from)), y: height - 14, height: 8 })),
        s("line", { class: "limit hard", x1: 0, x2: width, y1: y(limit), y2: y(limit) }),
        s("path", { class: "path", d: path }),
        found.entries.filter((one) => one.what === "raised").map((one) => s("line", { class: "limit", x1: x(one.at_ms), x2: x(one.at_ms), y1: 0, y2: height - 16 })),
        s("line", { class: "cursor limit hard", x1: 0, x2: 0, y1: 0, y2: height }),
      ),
    );
    whatIf.textContent = t("what-if", { radius: metres(limit), count: spans.length, time: span(total) });
  }

  function jump(ms) {
    slider.value = ms;
    draw();
  }

  function toggle() {
    if (playing) {
      clearInterval(playing);
      playing = 0;
      say(play, t("play"));
      return;
    }
    say(play, t("pause"));
    if (Number(slider.value) >= Number(slider.max)) slider.value = slider.min;
    playing = setInterval(() => {
      slider.value = Number(slider.value) + 100 * Number(speed.value);
      if (Number(slider.value) >= Number(slider.max)) toggle();
      draw();
    }, 100);
  }

  slider.addEventListener("input", () => {
    if (!frame) frame = requestAnimationFrame(draw);
  });
  radius.addEventListener("input", () => {
    drawChart();
    draw();
  });
  load(params);
  return {
    go(next) {
      load(next);
    },
    key(key) {
      if (key === " ") toggle();
      else return false;
      return true;
    },
    close() {
      closed = true;
      clearInterval(playing);
      map.close();
    },
  };
}

/** The spans in which a distance was below a limit: geometry of last fixes, no evidence over time. */
export function within(points, limit) {
  const spans = [];
  let since = null;
  for (const [index, [ms, m]] of points.entries()) {
    const gap = index && ms - points[index - 1][0] > 300_000;
    if (since !== null && (m >= limit || gap)) {
      spans.push([since, gap ? points[index - 1][0] : ms]);
      since = null;
    }
    if (m < limit && since === null) since = ms;
  }
  if (since !== null) spans.push([since, points.at(-1)[0]]);
  return spans;
}

