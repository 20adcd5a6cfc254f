// What a person says by hand about a case: an alarm after a call, a drill, a class of alarms that is
// silent while a device is in repair.

import { get, post, remove } from "./api.js";
import { dialog, h, say } from "./dom.js";
import { clock } from "./format.js";
import { t, word } from "./i18n.js";
import { may, now } from "./store.js";

const TOLD = ["panic", "proximity", "tamper", "area-breach", "order-breach", "device-dying"];

const choice = (label, name, options) => h("label", { class: "field" }, label, h("select", { name }, options.map(([value, text]) => h("option", { value }, text))));
const reasonField = () => h("label", { class: "field" }, t("reason-for"), h("input", { name: "reason", required: true, minlength: 4, maxlength: 500 }));

/** Buttons for a case, and a line that says what became of what was sent; null without the rights. */
export function byHand({ wearer_id: wearer, protected_ids: others }) {
  const people = [wearer, ...others].filter(Boolean);
  if (!people.length || !(may("raise") || may("silence"))) return null;
  const answer = h("p", { role: "status" });

  async function send(path, body, done) {
    const { status } = await (body ? post(path, body) : remove(path));
    say(answer, status === 202 ? t("waits-for-watch") : t(done, { time: clock(now()) }));
  }

  function raise() {
    dialog(
      t("raise"),
      [
        h("p", {}, t("raise-words")),
        choice(t("kind"), "alarm_class", TOLD.map((one) => [one, word(one)])),
        choice(t("person"), "person", people.map((one) => [one, one])),
        reasonField(),
        h("label", { class: "check" }, h("input", { type: "checkbox", name: "drill" }), t("raise-drill")),
      ],
      {
        submit: t("raise"),
        cancel: t("cancel"),
        done: (form) => {
          const person = form.get("person");
          const about = person === wearer ? { wearer_id: person } : { protected_id: person };
          // Of two people together both are named: it is about their distance.
          const both = form.get("alarm_class") === "proximity" && wearer && others.length ? { wearer_id: wearer, protected_id: person === wearer ? others[0] : person } : about;
          return send("/v1/incidents", { alarm_class: form.get("alarm_class"), reason: form.get("reason"), drill: form.get("drill") === "on", ...both }, "done-raise");
        },
      },
    );
  }

  async function silence() {
    const { classes } = await get("/v1/alarm-book");
    const quiet = classes.filter((one) => !one.latched && !["system", "legal"].includes(one.alarm_class)).map((one) => one.alarm_class);
    dialog(
      t("out-of-service"),
      [
        h("p", {}, t("out-of-service-words")),
        choice(t("kind"), "alarm_class", quiet.map((one) => [one, word(one)])),
        choice(t("person"), "person", people.map((one) => [one, one])),
        h("label", { class: "field" }, t("minutes"), h("input", { name: "minutes", type: "number", min: 1, max: 10080, value: "60", required: true })),
        reasonField(),
        h("label", { class: "check" }, h("input", { type: "checkbox", name: "end" }), t("out-of-service-end")),
      ],
      {
        submit: t("out-of-service"),
        cancel: t("cancel"),
        done: (form) => {
          const path = `/v1/persons/${form.get("person")}/out-of-service`;
          if (form.get("end") === "on") return send(`${path}/${form.get("alarm_class")}`, null, "done-in-service");
          const until = Math.round(now() + Number(form.get("minutes")) * 60_000);
          return send(path, { alarm_class: form.get("alarm_class"), reason: form.get("reason"), until_ms: until }, "done-out-of-service");
        },
      },
    );
  }

  return h(
    "div",
    { class: "stack" },
    h(
      "div",
      { class: "row" },
      may("raise") ? h("button", { onclick: raise }, t("raise")) : null,
      may("silence") ? h("button", { onclick: silence }, t("out-of-service")) : null,
    ),
    answer,
  );
}
