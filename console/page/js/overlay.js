// What lies over the map: grid, zones, circles, tracks, on a plain canvas that moves with it.
//
// Not as layers of MapLibre: each change of a source there is cut into tiles by a worker and has the
// whole picture drawn anew. Here a second in which somebody moved costs a few lines on a canvas.

import { h } from "./dom.js";

const EARTH_M = 40_075_016.7;
/** Units of paths: about ten metres. Fine enough for half a pixel at the deepest zoom, as a float. */
const UNITS = 2 ** 22;

const STYLES = [
  { source: "grid", line: "map-grid", width: 1 },
  { source: "zones", line: "map-fill", opacity: 0.55, wide: true, when: ({ width_m: width }) => width > 0 },
  { source: "zones", fill: "map-fill", opacity: 0.75 },
  { source: "zones", line: "map-line", width: 2, when: ({ hot }) => !hot },
  { source: "zones", line: "p1", width: 4, when: ({ hot }) => hot },
  { source: "rings", line: "map-line", width: 1.5, dash: [6, 4.5], when: ({ hot }) => !hot },
  { source: "rings", line: "p1", width: 3, when: ({ hot }) => hot },
  { source: "errors", fill: "map-error", opacity: 0.16 },
  { source: "errors", line: "map-error", width: 1.5 },
  { source: "tracks", line: "map-line", width: 2.5 },
  { source: "contact", line: "text", width: 2, dash: [2, 4] },
  { source: "edit", fill: "map-line", opacity: 0.2, when: (_, { type }) => type === "Polygon" },
  { source: "edit", line: "text", width: 3, when: (_, { type }) => type !== "MultiPoint" },
  { source: "edit", dots: "text", radius: 6, when: (_, { type }) => type === "MultiPoint" },
];
const NAMES = [...new Set(STYLES.map(({ line, fill, dots }) => line || fill || dots))];

/** A place in units, east and south of the corner of the world. */
function units([lon, lat]) {
  const turn = Math.log(Math.tan(Math.PI / 4 + (lat * Math.PI) / 360)) / (2 * Math.PI);
  return [(lon / 360 + 0.5) * UNITS, (0.5 - turn) * UNITS];
}

export class Overlay {
  /** Lies in `map`, under its markers. `colorOf(name)` gives a colour of the page. */
  constructor(map, colorOf) {
    this.map = map;
    this.colorOf = colorOf;
    this.sources = {};
    this.planned = 0;
    const middle = map.getCenter();
    this.origin = [middle.lng, middle.lat];
    this.canvas = h("canvas", { class: "overlay", "aria-hidden": "true" });
    this.context = this.canvas.getContext("2d");
    map.getCanvas().after(this.canvas);
    map.on("move", () => this.plan());
    map.on("resize", () => this.resize());
    this.theme();
    this.resize();
  }

  /** Show these features of a source, and no others. */
  set(name, features) {
    this.sources[name] = features.map(({ geometry, properties }) => ({ geometry, properties, path: this.path(geometry) }));
    this.plan();
  }

  theme() {
    this.colors = Object.fromEntries(NAMES.map((name) => [name, this.colorOf(name)]));
    this.plan();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.map.getContainer();
    const ratio = devicePixelRatio || 1;
    this.ratio = ratio;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.draw();
  }

  close() {
    cancelAnimationFrame(this.planned);
  }

  plan() {
    if (!this.planned) this.planned = requestAnimationFrame(() => this.draw());
  }

  path({ type, coordinates }) {
    const path = new Path2D();
    if (type === "MultiPoint") return path;
    const [x0, y0] = units(this.origin);
    for (const ring of type === "Polygon" ? coordinates : [coordinates]) {
      for (const [index, place] of ring.entries()) {
        const [x, y] = units(place);
        if (index) path.lineTo(x - x0, y - y0);
        else path.moveTo(x - x0, y - y0);
      }
      if (type === "Polygon") path.closePath();
    }
    return path;
  }

  draw() {
    cancelAnimationFrame(this.planned);
    this.planned = 0;
    const { context, ratio } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.lineCap = context.lineJoin = "round";
    const world = 512 * 2 ** this.map.getZoom();
    const scale = world / UNITS;
    const { x, y } = this.map.project(this.origin);
    const here = new DOMMatrix([scale, 0, 0, scale, x, y]);
    const perMetre = world / (EARTH_M * Math.cos((this.map.getCenter().lat * Math.PI) / 180));
    for (const { source, line, fill, dots, radius, opacity = 1, width, wide, dash = [], when } of STYLES) {
      for (const { geometry, properties, path } of this.sources[source] || []) {
        if (when && !when(properties, geometry)) continue;
        if (dots) {
          this.dots(geometry.coordinates, radius, this.colors[dots]);
          continue;
        }
        const placed = new Path2D();
        placed.addPath(path, here);
        context.globalAlpha = opacity;
        if (fill) {
          context.fillStyle = this.colors[fill];
          context.fill(placed, "evenodd");
        } else {
          context.strokeStyle = this.colors[line];
          context.lineWidth = wide ? properties.width_m * perMetre : width;
          context.setLineDash(dash);
          context.stroke(placed);
        }
      }
    }
  }

  dots(places, radius, color) {
    const { context } = this;
    context.globalAlpha = 1;
    context.fillStyle = color;
    for (const place of places) {
      const { x, y } = this.map.project(place);
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fill();
    }
  }
}
