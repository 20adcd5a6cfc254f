// The distance between two persons over the last half hour, with the limits of the order.

import { h, s } from "./dom.js";
import { clock, metres } from "./format.js";
import { distance } from "./geo.js";
import { t } from "./i18n.js";
import { now } from "./store.js";

const FRESH_MS = 300_000;

/** Where somebody was at a time: the last fix before it, if it was fresh. [time, lat, lon] */
export function at(track, ms) {
  let low = 0;
  let high = track.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (track[middle][0] <= ms) low = middle + 1;
    else high = middle;
  }
  const point = track[low - 1];
  return point && ms - point[0] <= FRESH_MS ? point : null;
}

/** Distances at each fix of either: [ms, metres]. */
export function distances(one, other, latLon = (point) => [point[1], point[2]]) {
  const times = [...new Set([...one, ...other].map((point) => point[0]))].sort((a, b) => a - b);
  const found = [];
  for (const ms of times) {
    const a = at(one, ms);
    const b = at(other, ms);
    if (a && b) found.push([ms, distance(...latLon(a), ...latLon(b))]);
  }
  return found;
}

function trackOf(found, person) {
  return found.positions
    .filter((one) => one.person_id === person)
    .flatMap((one) => one.track)
    .sort((a, b) => a[0] - b[0]);
}

export function spark(found, incident, order) {
  if (!incident || !incident.wearer_id || !incident.protected_id) return null;
  const points = distances(trackOf(found, incident.wearer_id), trackOf(found, incident.protected_id));
  if (points.length < 2) return null;
  const width = 440;
  const height = 88;
  const from = points[0][0];
  const to = Math.max(now(), points.at(-1)[0]);
  const limits = order ? [order.radius_m, order.warning_m].filter(Boolean) : [];
  const most = Math.max(...points.map((point) => point[1]), ...limits) * 1.1;
  const x = (ms) => 4 + ((ms - from) / Math.max(1, to - from)) * (width - 64);
  const y = (m) => height - 18 - (m / most) * (height - 26);
  const path = points.map(([ms, m], index) => `${index ? "L" : "M"}${x(ms).toFixed(1)} ${y(m).toFixed(1)}`).join("");
  const last = points.at(-1)[1];
  const under = order
    ? points
        .slice(1)
        .map(([ms, m], index) => (m < order.radius_m ? s("rect", { class: "under", x: x(points[index][0]), width: Math.max(1.5, x(ms) - x(points[index][0])), y: height - 18, height: 4 }) : null))
    : [];
  const drawn = s(
    "svg",
    { class: "spark", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": t("distance-now", { distance: metres(last) }) },
    limits.map((m, index) => [
      s("line", { class: index ? "limit" : "limit hard", x1: 4, x2: width - 58, y1: y(m), y2: y(m) }),
      s("text", { x: width - 54, y: y(m) + 4 }, metres(m)),
    ]),
    under,
    s("path", { class: "path", d: path }),
    s("text", { x: 4, y: height - 3 }, clock(from)),
    s("text", { x: width - 60, y: height - 3, "text-anchor": "end" }, clock(to)),
  );
  return h("div", {}, drawn, h("p", {}, h("span", { class: "strong" }, metres(last)), ` ${t("between-last-fixes")}`));
}
