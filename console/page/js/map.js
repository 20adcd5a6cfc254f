// The map: grey, with a grid for distance where there are no tiles. Persons are shapes with a label that
// says who, how old, how exact; circles are the 68 % error. MapLibre draws it; without it (or without
// WebGL) the list says all the same.

import { get } from "./api.js";
import { h, s, say } from "./dom.js";
import { age, metres, span } from "./format.js";
import { box, circle, grid, placesOf, zoneGeometry } from "./geo.js";
import { t } from "./i18n.js";
import { Overlay } from "./overlay.js";
import { now, store } from "./store.js";

let library = null;

async function loadLibrary() {
  library = library || import("/vendor/maplibre-gl.mjs").then((loaded) => {
    if (!document.querySelector("link[data-map]"))
      document.head.append(h("link", { rel: "stylesheet", href: "/vendor/maplibre-gl.css", dataset: { map: "" } }));
    return loaded;
  });
  return library;
}

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const feature = (geometry, properties = {}) => ({ type: "Feature", geometry, properties });
const polygon = (ring) => ({ type: "Polygon", coordinates: [ring] });
const lineOf = (places) => ({ type: "LineString", coordinates: places });
const OLD_MS = 90_000;
const RESIZE_MS = 60;

/** A map with nothing on it; other maps of the page build on it. */
export class BaseMap {
  constructor() {
    this.canvas = h("div", { class: "canvas" });
    this.words = h("p", { class: "note", role: "status", hidden: true });
    this.fitButton = h("button", { onclick: () => this.fit(), title: t("map-fit"), "aria-label": t("map-fit") }, s("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, s("path", { d: "M1 5V1h4M11 1h4v4M15 11v4h-4M5 15H1v-4", fill: "none", stroke: "currentcolor", "stroke-width": 2 })));
    this.tools = h(
      "div",
      { class: "tools", hidden: true },
      h("button", { onclick: () => this.map.zoomIn(), title: "+", "aria-label": t("zoom-in") }, "+"),
      h("button", { onclick: () => this.map.zoomOut(), title: "−", "aria-label": t("zoom-out") }, "−"),
      this.fitButton,
    );
    this.root = h("div", { class: "map" }, this.canvas, this.words, this.tools);
    this.map = null;
    this.data = {};
    this.keys = {};
    this.places = [];
    this.closed = false;
    this.retheme = () => this.theme();
    store.addEventListener("theme", this.retheme);
    this.ready = this.start();
  }

  async start() {
    try {
      const { Map, ScaleControl, AttributionControl } = await loadLibrary();
      if (this.closed) return;
      const { longitude, latitude, zoom, tiles_url: tiles, tiles_attribution: attribution, tiles_max_zoom: maxzoom } = store.settings;
      this.map = new Map({
        container: this.canvas,
        style: this.style(tiles, maxzoom),
        center: [longitude, latitude],
        zoom,
        maxZoom: 19,
        attributionControl: false,
        pitchWithRotate: false,
        dragRotate: false,
        fadeDuration: 0,
        trackResize: false,
        renderWorldCopies: false,
        canvasContextAttributes: { antialias: false },
      });
      this.map.touchZoomRotate.disableRotation();
      this.map.addControl(new ScaleControl({ maxWidth: 160 }), "bottom-left");
      if (attribution) this.map.addControl(new AttributionControl({ customAttribution: attribution, compact: true }), "bottom-right");
      this.map.getCanvas().setAttribute("aria-label", t("map"));
      // Not "load", which waits for the first picture: signs need none.
      await new Promise((resolve) => this.map.once("style.load", resolve));
      if (this.closed) return;
      this.tools.hidden = false;
      this.map.on("moveend", () => this.drawGrid());
      // To draw anew is dear: once, when the size has come to rest.
      this.size = new ResizeObserver(() => {
        clearTimeout(this.resizing);
        this.resizing = setTimeout(() => this.map && this.map.resize(), RESIZE_MS);
      });
      this.size.observe(this.canvas);
      this.loaded = true;
      this.overlay = new Overlay(this.map, color);
      for (const [name, features] of Object.entries(this.data)) this.overlay.set(name, features);
      this.drawGrid();
      this.drawn();
      this.fit();
    } catch {
      this.broken = true;
      this.note("");
    }
  }

  drawn() {}

  style(tiles, maxzoom) {
    const sources = tiles ? { tiles: { type: "raster", tiles: [new URL(tiles, location.origin).href.replaceAll("%7B", "{").replaceAll("%7D", "}")], tileSize: 256, maxzoom } } : {};
    const picture = { id: "tiles", type: "raster", source: "tiles", paint: { "raster-saturation": -1, "raster-contrast": -0.2, "raster-fade-duration": 0 } };
    return { version: 8, sources, layers: [{ id: "land", type: "background", paint: { "background-color": color("map-land") } }, ...(tiles ? [picture] : [])] };
  }

  theme() {
    if (!this.loaded) return;
    this.map.setPaintProperty("land", "background-color", color("map-land"));
    this.overlay.theme();
  }

  /** Lay features over the map. What is the same is not drawn again: most seconds nobody has moved. */
  set(name, features) {
    const key = JSON.stringify(features);
    if (this.keys[name] === key) return;
    this.keys[name] = key;
    this.data[name] = features;
    if (this.loaded) this.overlay.set(name, features);
  }

  note(text) {
    const words = [this.broken ? t("map-none") : "", text].filter(Boolean).join(" ");
    this.words.hidden = !words;
    say(this.words, words);
  }

  fit(places = this.places) {
    const around = box(places);
    if (!this.loaded || !around) return;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    // Names stand to the right of their places, beside the buttons; the distance in the corner below.
    const around_px = Math.min(70, Math.round(0.12 * Math.min(width, height)));
    const padding = { top: around_px, left: around_px, right: Math.min(240, Math.round(0.4 * width)), bottom: Math.min(150, Math.round(0.24 * height)) };
    this.map.fitBounds(around, { padding, maxZoom: 16, animate: false });
  }

  drawGrid() {
    if (store.settings.tiles_url) return;
    const bounds = this.map.getBounds();
    const area = [[bounds.getWest(), bounds.getSouth()], [bounds.getEast(), bounds.getNorth()]];
    const wide = (bounds.getNorth() - bounds.getSouth()) * 111_195;
    const step = [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000].find((one) => wide / one < 14);
    this.set("grid", step ? grid(area, step).map((ends) => feature(lineOf(ends))) : []);
  }

  close() {
    this.closed = true;
    store.removeEventListener("theme", this.retheme);
    if (this.size) this.size.disconnect();
    if (this.overlay) this.overlay.close();
    if (this.map) this.map.remove();
    this.map = null;
    this.loaded = false;
  }
}

const SIGNS = {
  wearer: () => s("path", { d: "M12 1l11 21H1z", fill: "var(--map-wearer)", stroke: "var(--panel)", "stroke-width": 2 }),
  protected: () => s("circle", { cx: 12, cy: 12, r: 9, fill: "var(--panel)", stroke: "var(--map-protected)", "stroke-width": 5 }),
};

/** A person on a map: a triangle is a wearer, a ring is a protected person. */
export class Marker {
  constructor(base, Library, role) {
    this.label = h("span", { class: "label" });
    this.root = h("div", { class: "marker" }, s("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, (SIGNS[role] || SIGNS.wearer)()), this.label);
    this.marker = new Library.Marker({ element: this.root, anchor: "left", offset: [-12, 0] });
    this.base = base;
    this.added = false;
  }

  put(lon, lat) {
    this.marker.setLngLat([lon, lat]);
    if (!this.added) this.marker.addTo(this.base.map);
    this.added = true;
  }

  remove() {
    this.marker.remove();
    this.added = false;
  }
}

/** The map of one incident. */
export class IncidentMap extends BaseMap {
  constructor() {
    super();
    this.contact = h("div", { class: "contact", hidden: true });
    this.root.append(this.contact);
    this.markers = new Map();
    this.zones = new Map();
    this.found = null;
    this.known = [];
  }

  /** Show nothing of the incident before, at once and without drawing. */
  cover() {
    this.canvas.classList.add("covered");
    this.contact.hidden = true;
    this.note("");
  }

  clear() {
    this.canvas.classList.remove("covered");
    this.found = null;
    this.known = [];
    this.zones.clear();
    this.places = [];
    this.contact.hidden = true;
    for (const marker of this.markers.values()) marker.remove();
    this.markers.clear();
    for (const name of ["zones", "rings", "tracks", "errors", "contact"]) this.set(name, []);
    this.note("");
  }

  async drawn() {
    this.library = await loadLibrary();
    if (this.found) this.positions(this.found, { fit: true });
    this.drawZones();
  }

  async orders(orders) {
    this.known = orders.map((one) => one.order);
    const ids = new Set(this.known.flatMap((order) => order.zone_ids));
    for (const id of ids) {
      if (!this.zones.has(id)) this.zones.set(id, await get(`/v1/zones/${id}`, { background: true }).catch(() => null));
    }
    if (this.closed) return;
    this.drawZones();
    if (this.found) this.positions(this.found, {});
  }

  drawZones() {
    const features = [];
    for (const order of this.known) {
      for (const id of order.zone_ids) {
        const zone = this.zones.get(id);
        if (!zone) continue;
        const geometry = zoneGeometry(zone);
        for (const part of partsOf(geometry)) features.push(feature(part, { width_m: 2 * order.buffer_m, hot: false, id }));
      }
    }
    this.set("zones", features);
    this.zonePlaces = features.flatMap((one) => placesOf(one));
  }

  positions(found, { fit = false }) {
    this.found = found;
    const shown = found.positions.filter((one) => one.fix);
    this.note(shown.length ? "" : t("positions-none"));
    this.meeting(found, shown);
    if (!this.loaded || !this.library) return;
    const errors = [];
    const rings = [];
    const tracks = [];
    const places = [];
    const seen = new Set();
    for (const { person_id: person, role, device_id: device, fix, track } of shown) {
      const lon = fix.lon_e7 / 1e7;
      const lat = fix.lat_e7 / 1e7;
      seen.add(device);
      places.push([lon, lat]);
      if (fix.accuracy_m) errors.push(feature(polygon(circle(lon, lat, fix.accuracy_m))));
      if (track.length > 1) tracks.push(feature(lineOf(track.map((point) => [point[2] / 1e7, point[1] / 1e7]))));
      this.mark(device, role).put(lon, lat);
      const old = now() - fix.time_ms;
      const marker = this.markers.get(device);
      marker.root.classList.toggle("old", old > OLD_MS);
      const words = `${age(old)}${fix.accuracy_m === null ? "" : `, ± ${metres(fix.accuracy_m)}`}`;
      marker.label.replaceChildren(h("b", {}, person), ` ${words}`);
      if (role === "protected") {
        const distance = found.contact?.distance_m;
        for (const order of this.known.filter((one) => one.kind === "contact-ban" && one.protected_ids.includes(person))) {
          const hot = distance !== undefined && distance < order.radius_m;
          rings.push(feature(lineOf(circle(lon, lat, order.radius_m, 144)), { hot }));
          if (order.warning_m) rings.push(feature(lineOf(circle(lon, lat, order.warning_m, 144)), { hot: false }));
        }
      }
    }
    for (const [device, marker] of this.markers) {
      if (seen.has(device)) continue;
      marker.remove();
      this.markers.delete(device);
    }
    this.set("errors", errors);
    this.set("rings", rings);
    this.set("tracks", tracks);
    this.places = places;
    if (fit || !this.fitted) {
      this.fitted = places.length > 0;
      this.fit();
    }
  }

  fit() {
    const near = this.places.length ? this.places : this.zonePlaces || [];
    super.fit([...near]);
  }

  mark(device, role) {
    if (!this.markers.has(device)) this.markers.set(device, new Marker(this, this.library, role));
    return this.markers.get(device);
  }

  meeting(found, shown) {
    const met = found.contact;
    this.contact.hidden = !met;
    if (!met) {
      this.set("contact", []);
      return;
    }
    const closing = met.closing_m_s;
    const words = [];
    if (closing !== null && Math.abs(closing) > 0.3) words.push(t(closing > 0 ? "approaching" : "moving-apart", { speed: Math.round(Math.abs(closing) * 3.6) }));
    if (met.closest_s !== null && closing > 0.3) words.push(t("closest", { time: span(met.closest_s * 1000), distance: metres(met.closest_m) }));
    this.contact.replaceChildren(h("b", {}, metres(met.distance_m)), h("span", { class: "dim" }, ` ${t("from-to", { least: metres(met.least_m), most: metres(met.most_m) })}`), ...words.map((one) => h("div", {}, one)));
    const features = [];
    if (met.lat_e7 !== null && met.closest_s !== null && closing > 0.3) {
      const meet = [met.lon_e7 / 1e7, met.lat_e7 / 1e7];
      for (const { fix } of shown) features.push(feature(lineOf([[fix.lon_e7 / 1e7, fix.lat_e7 / 1e7], meet]), { kind: "way" }));
    }
    this.set("contact", features);
  }
}

/** The polygons of a GeoJSON thing, each as a geometry. */
export function partsOf(geometry) {
  if (!geometry) return [];
  if (geometry.type === "FeatureCollection") return geometry.features.flatMap(partsOf);
  if (geometry.type === "Feature") return partsOf(geometry.geometry);
  if (geometry.type === "GeometryCollection") return geometry.geometries.flatMap(partsOf);
  if (geometry.type === "MultiPolygon") return geometry.coordinates.map((rings) => ({ type: "Polygon", coordinates: rings }));
  return geometry.type === "Polygon" ? [geometry] : [];
}
