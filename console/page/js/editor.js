// Drawing an order: its terms on the left, its zones on the map and as a list of places.

import { get, post } from "./api.js";
import { dialog, h, say } from "./dom.js";
import { circle, coverArea, placesOf, zoneGeometry } from "./geo.js";
import { t, word } from "./i18n.js";
import { BaseMap, partsOf } from "./map.js";
import { now } from "./store.js";

const KINDS = ["contact-ban", "area-ban", "location-order"];
const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const local = (ms) => new Date(ms - new Date(ms).getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
const ms = (text) => (text ? new Date(text).getTime() : null);

export class Editor {
  constructor(root, orderId) {
    this.map = new BaseMap();
    this.ring = [];
    this.zones = [];
    this.drawing = false;
    this.kept = null;
    this.whole = null;
    this.answer = h("div", { role: "status" });
    this.form = this.makeForm();
    root.replaceChildren(h("div", { class: "editor" }, h("div", { class: "form" }, h("h1", {}, t("order-new")), h("p", { class: "hint" }, t("order-new-words")), this.form), this.map.root));
    this.map.drawn = () => this.mapReady();
    this.change();
    this.loadChoices();
    if (orderId) this.loadOrder(orderId);
  }

  close() {
    this.map.close();
  }

  // --- the form ---------------------------------------------------------------------------------

  makeForm() {
    const field = (label, input, hint) => h("label", { class: "field" }, label, input, hint ? h("span", { class: "hint" }, hint) : null);
    const input = (name, props = {}) => h("input", { name, id: `order-${name}`, ...props });
    this.places = h("textarea", { name: "places", rows: 5, spellcheck: "false", oninput: () => this.placesTyped() });
    this.drawButton = h("button", { type: "button", onclick: () => this.toggleDrawing() }, t("draw-area"));
    this.zonePart = h(
      "fieldset",
      {},
      h("legend", {}, t("zone")),
      h("div", { class: "two" }, field(t("zone-id"), input("zone_id", { pattern: "[A-Za-z0-9._\\-]{1,64}" })), field(t("zone-name"), input("zone_name", { maxlength: 300 }))),
      h(
        "div",
        { class: "row" },
        this.drawButton,
        h("button", { type: "button", onclick: () => this.undo() }, t("undo")),
        h("button", { type: "button", onclick: () => this.setRing([]) }, t("clear")),
        h("button", { type: "button", onclick: () => this.circleDialog() }, t("circle-area")),
        h("button", { type: "button", onclick: () => this.coverDialog() }, t("cover-area")),
        h("label", { class: "button" }, t("from-file"), h("input", { type: "file", class: "unseen", accept: ".json,.geojson,application/geo+json", onchange: (event) => this.fromFile(event) })),
      ),
      field(t("zone-places"), this.places, t("zone-places-words")),
      field(t("buffer"), input("buffer_m", { type: "number", min: 0, max: 100_000, value: "150" })),
    );
    this.contactPart = h(
      "fieldset",
      {},
      h("legend", {}, t("contact-ban-terms")),
      field(t("protected"), input("protected", { list: "order-protected-list" }), t("protected-words")),
      h("datalist", { id: "order-protected-list" }),
      h(
        "div",
        { class: "two" },
        field(t("radius"), input("radius_m", { type: "number", min: 1, max: 100_000, value: "500" })),
        field(t("warning-ring"), input("warning_m", { type: "number", min: 0, max: 100_000, value: "1000" })),
        field(t("time-to-contact-s"), input("time_to_contact_s", { type: "number", min: 0, max: 7_200, value: "120" })),
      ),
    );
    this.hoursPart = h(
      "fieldset",
      {},
      h("legend", {}, t("hours")),
      h("div", { class: "row" }, DAYS.map((one, index) => h("label", { class: "check" }, h("input", { type: "checkbox", name: "day", value: index }), t(`day-${one}`)))),
      h("div", { class: "two" }, field(t("from-hour"), input("hour_from", { type: "time", value: "22:00" })), field(t("to-hour"), input("hour_to", { type: "time", value: "06:00" }))),
      h("p", { class: "hint" }, t("hours-words")),
    );
    const start = now();
    const form = h(
      "form",
      { onsubmit: (event) => this.submit(event), onchange: () => this.change() },
      h(
        "fieldset",
        {},
        h("legend", {}, t("order")),
        h(
          "div",
          { class: "two" },
          field(t("kind"), h("select", { name: "kind" }, KINDS.map((one) => h("option", { value: one }, word(one))))),
          field(t("order-id"), input("id", { required: true, pattern: "[A-Za-z0-9._\\-]{1,64}" })),
          field(t("wearer"), input("wearer", { required: true, list: "order-wearer-list" })),
          h("datalist", { id: "order-wearer-list" }),
          field(t("plan"), h("select", { name: "plan", required: true })),
          field(t("risk-class"), h("select", { name: "risk" }, [1, 2, 3].map((one) => h("option", { value: one, selected: one === 2 }, t(`risk-${one}`))))),
          field(t("case-number"), input("case_number", { maxlength: 300 })),
        ),
        field(t("title"), input("title", { maxlength: 300 })),
        field(t("authority"), input("authority", { maxlength: 300 })),
      ),
      this.contactPart,
      this.zonePart,
      this.hoursPart,
      h(
        "fieldset",
        {},
        h("legend", {}, t("validity")),
        h(
          "div",
          { class: "two" },
          field(t("from"), input("valid_from", { type: "datetime-local", required: true, value: local(start) })),
          field(t("until"), input("valid_to", { type: "datetime-local", value: local(start + 90 * 86_400_000) })),
          field(t("signed"), input("signed", { type: "datetime-local", value: local(start) })),
          field(t("served"), input("served", { type: "datetime-local", value: local(start) })),
        ),
        h("label", { class: "check" }, h("input", { type: "checkbox", name: "immediately", checked: true }), t("immediately")),
      ),
      field(t("proposal-reason"), h("textarea", { name: "reason", maxlength: 2000 })),
      h(
        "div",
        { class: "row" },
        h("button", { type: "button", onclick: () => this.feasibility() }, t("feasibility")),
        h("select", { name: "hours", "aria-label": t("feasibility-over") }, h("option", { value: 24 }, t("feasibility-day")), h("option", { value: 168 }, t("feasibility-week"))),
        h("button", { class: "main", type: "submit" }, t("propose")),
      ),
      this.answer,
    );
    return form;
  }

  async loadChoices() {
    const [plans, cases] = await Promise.all([get("/v1/plans").catch(() => ({ plans: [] })), get("/v1/cases").catch(() => ({ cases: [] }))]);
    const select = this.form.elements.plan;
    select.replaceChildren(...plans.plans.map((plan) => h("option", { value: plan.id }, plan.title || plan.id)));
    const fill = (id, names) => this.form.querySelector(`#${id}`)?.replaceChildren(...names.slice(0, 2_000).map((one) => h("option", { value: one })));
    fill("order-wearer-list", cases.cases.map((one) => one.wearer_id).filter(Boolean));
    fill("order-protected-list", cases.cases.flatMap((one) => one.protected_ids));
    this.cases = cases.cases;
    if (this.kept) select.value = this.kept.plan_id;
  }

  async loadOrder(id) {
    const found = await get(`/v1/orders/${id}`);
    const { order } = found.order;
    this.kept = order;
    const fields = this.form.elements;
    const put = (name, value) => value !== null && value !== undefined && (fields[name].value = value);
    put("kind", order.kind);
    put("id", order.id);
    put("wearer", order.wearer_id);
    put("plan", order.plan_id);
    put("risk", order.risk_class);
    put("case_number", order.case_number);
    put("title", order.title);
    put("authority", order.authority);
    put("protected", order.protected_ids.join(", "));
    for (const name of ["radius_m", "warning_m", "time_to_contact_s", "buffer_m"]) put(name, order[name]);
    put("valid_from", local(order.valid_from_ms));
    fields.valid_to.value = order.valid_to_ms ? local(order.valid_to_ms) : "";
    fields.signed.value = order.signed_at_ms ? local(order.signed_at_ms) : "";
    fields.served.value = order.served_at_ms ? local(order.served_at_ms) : "";
    fields.immediately.checked = order.immediately_enforceable;
    fields.id.readOnly = true;
    this.zones = found.zones;
    if (found.zones[0]) {
      put("zone_id", found.zones[0].id);
      put("zone_name", found.zones[0].name);
      this.show(zoneGeometry(found.zones[0]));
    }
    this.change();
  }

  get kind() {
    return this.form.elements.kind.value;
  }

  change() {
    const pair = this.kind === "contact-ban";
    this.contactPart.hidden = !pair;
    this.zonePart.hidden = pair;
    for (const name of ["radius_m", "protected"]) this.form.elements[name].required = pair;
    this.form.elements.zone_id.required = !pair;
    this.map.note(pair ? t("order-without-zone") : this.drawing ? t("draw-words") : "");
  }

  // --- the map ------------------------------------------------------------------------------------

  mapReady() {
    const map = this.map.map;
    map.on("click", (event) => {
      if (this.picking) {
        const done = this.picking;
        this.picking = null;
        map.getCanvas().style.cursor = "";
        done(event.lngLat.lng, event.lngLat.lat);
      } else if (this.drawing) this.setRing([...this.ring, [round(event.lngLat.lng), round(event.lngLat.lat)]]);
    });
    this.drawRing();
    if (this.ring.length) this.map.fit(this.ring);
  }

  toggleDrawing() {
    this.drawing = !this.drawing;
    this.drawButton.setAttribute("aria-pressed", String(this.drawing));
    const { map } = this.map;
    if (map) {
      map.getCanvas().style.cursor = this.drawing ? "crosshair" : "";
      // Two corners set quickly are two corners.
      map.doubleClickZoom[this.drawing ? "disable" : "enable"]();
    }
    this.change();
  }

  setRing(ring, fit = false) {
    this.ring = ring;
    this.whole = null; // whoever draws on after a file means what they draw
    this.places.value = ring.map(([lon, lat]) => `${lat.toFixed(6)}, ${lon.toFixed(6)}`).join("\n");
    this.drawRing();
    if (fit) this.map.fit(ring);
  }

  /** Take an area as it is: several parts and holes stay, until somebody draws on. Gives its parts. */
  show(geometry) {
    const parts = partsOf(geometry);
    if (!parts.length) return 0;
    this.setRing(parts[0].coordinates[0].slice(0, -1), true);
    this.whole = parts.length > 1 || parts[0].coordinates.length > 1 ? geometry : null;
    this.map.fit(placesOf(geometry));
    this.drawRing();
    return parts.length;
  }

  undo() {
    this.setRing(this.ring.slice(0, -1));
  }

  placesTyped() {
    const ring = [];
    for (const line of this.places.value.split("\n")) {
      const [lat, lon] = line.split(/[,;\s]+/).map(Number);
      if (Number.isFinite(lat) && Number.isFinite(lon) && line.trim()) ring.push([lon, lat]);
    }
    this.ring = ring;
    this.whole = null;
    this.drawRing();
  }

  drawRing() {
    const closed = this.ring.length > 2;
    const coordinates = closed ? [...this.ring, this.ring[0]] : this.ring;
    const geometry = closed ? { type: "Polygon", coordinates: [coordinates] } : { type: "LineString", coordinates };
    this.map.places = this.ring;
    const feature = (shape) => ({ type: "Feature", properties: {}, geometry: shape });
    const corners = feature({ type: "MultiPoint", coordinates: this.ring });
    const shapes = this.whole ? partsOf(this.whole) : this.ring.length > 1 ? [geometry] : [];
    this.map.set("edit", [...shapes.map(feature), ...(this.whole ? [] : [corners])]);
  }

  placeDialog(title, words, done) {
    dialog(
      title,
      [
        h("p", {}, words),
        h("label", { class: "field" }, t("place-lat-lon"), h("input", { name: "place", required: true, placeholder: "51.92, 4.48" })),
        h("label", { class: "field" }, t("radius-m"), h("input", { name: "radius", type: "number", min: 20, max: 50_000, value: "300", required: true })),
      ],
      {
        submit: t("draw"),
        cancel: t("cancel"),
        done: async (form) => {
          const [lat, lon] = form.get("place").split(/[,;\s]+/).map(Number);
          if (!(Math.abs(lat) <= 90 && Math.abs(lon) <= 180)) throw new Error(t("place-wrong"));
          done(lon, lat, Number(form.get("radius")));
        },
      },
    );
  }

  circleDialog() {
    this.placeDialog(t("circle-area"), t("circle-words"), (lon, lat, radius) => this.setRing(circle(lon, lat, radius, 40).slice(0, -1).reverse().map(([x, y]) => [round(x), round(y)]), true));
  }

  /** An area that contains an address without its middle giving it away; the address is not kept. */
  coverDialog() {
    this.placeDialog(t("cover-area"), t("cover-words"), (lon, lat, radius) => {
      const random = () => crypto.getRandomValues(new Uint32Array(1))[0] / 2 ** 32;
      this.setRing(coverArea(lon, lat, radius, random).coordinates[0].slice(0, -1).map(([x, y]) => [round(x), round(y)]), true);
    });
  }

  async fromFile(event) {
    const [file] = event.target.files;
    if (!file) return;
    try {
      const parsed = JSON.parse(await file.text());
      if (parsed.order) {
        await this.send(parsed);
        return;
      }
      const parts = this.show(parsed);
      if (!parts) throw new Error(t("file-no-area"));
      say(this.answer, this.whole ? t("file-whole", { count: parts }) : t("file-read", { name: file.name }));
    } catch (error) {
      say(this.answer, error.words || String(error.message || error));
    } finally {
      event.target.value = "";
    }
  }

  // --- what is sent ---------------------------------------------------------------------------------

  geometry() {
    if (this.whole) return this.whole;
    let ring = [...this.ring];
    if (area(ring) < 0) ring = ring.reverse();
    return { type: "Polygon", coordinates: [[...ring, ring[0]]] };
  }

  body() {
    const form = this.form.elements;
    const pair = this.kind === "contact-ban";
    const order = {
      id: form.id.value.trim(),
      version: this.kept ? this.kept.version + 1 : 1,
      kind: this.kind,
      wearer_id: form.wearer.value.trim(),
      risk_class: Number(form.risk.value),
      title: form.title.value,
      authority: form.authority.value,
      case_number: form.case_number.value,
      valid_from_ms: ms(form.valid_from.value),
      valid_to_ms: ms(form.valid_to.value),
      signed_at_ms: ms(form.signed.value),
      served_at_ms: ms(form.served.value),
      immediately_enforceable: form.immediately.checked,
      plan_id: form.plan.value,
    };
    const days = [...this.form.querySelectorAll("[name=day]:checked")].map((one) => Number(one.value));
    if (days.length) order.schedule = { timezone: "Europe/Amsterdam", weekly: days.map((day) => ({ day, start: form.hour_from.value, end: form.hour_to.value })) };
    const zones = [];
    if (pair) {
      order.protected_ids = form.protected.value.split(/[,\s]+/).filter(Boolean);
      order.radius_m = Number(form.radius_m.value);
      order.warning_m = Number(form.warning_m.value);
      order.time_to_contact_s = Number(form.time_to_contact_s.value);
    } else {
      order.buffer_m = Number(form.buffer_m.value);
      order.zone_ids = [form.zone_id.value.trim()];
      const before = this.zones.find((one) => one.id === form.zone_id.value.trim());
      zones.push({ id: form.zone_id.value.trim(), version: before ? before.version + 1 : 1, name: form.zone_name.value, geometry: this.geometry() });
    }
    return { order, zones, reason: form.reason.value };
  }

  async submit(event) {
    event.preventDefault();
    if (this.kind !== "contact-ban" && this.ring.length < 3) {
      say(this.answer, t("draw-first"));
      return;
    }
    try {
      await this.send(this.body());
    } catch (error) {
      this.answer.replaceChildren(h("p", { class: "error" }, error.words || String(error)));
    }
  }

  async send(body) {
    const { body: said } = await post("/v1/order-proposals", body);
    location.hash = `#/orders/proposal/${said.proposal_id}`;
  }

  async feasibility() {
    const { order, zones } = this.body();
    const { hours } = this.form.elements;
    say(this.answer, t("feasibility-asks"));
    try {
      const { body: found } = await post("/v1/feasibility-checks", { kind: order.kind, wearer_id: order.wearer_id, protected_ids: order.protected_ids || [], radius_m: order.radius_m || 0, zones: this.ring.length > 2 ? zones : [], hours: Number(hours.value) });
      const share = found.breach_pct === null ? t("feasibility-nothing") : t("feasibility-share", { period: hours.selectedOptions[0].textContent, share: found.breach_pct, minutes: found.minutes_compared, longest: found.longest_breach_min });
      say(this.answer, `${share} ${found.complete ? "" : t("feasibility-cut")}`);
    } catch (error) {
      this.answer.replaceChildren(h("p", { class: "error" }, error.words || String(error)));
    }
  }
}

const round = (degrees) => Math.round(degrees * 1e6) / 1e6;

/** Twice the signed area of a ring; positive: counterclockwise, as RFC 7946 wants it. */
function area(ring) {
  let sum = 0;
  for (const [index, [x, y]] of ring.entries()) {
    const [nextX, nextY] = ring[(index + 1) % ring.length];
    sum += x * nextY - nextX * y;
  }
  return sum;
}

