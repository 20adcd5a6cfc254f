// What an operator does about an incident: a button and a key each.

import { get, post, remove } from "./api.js";
import { dialog, h, say } from "./dom.js";
import { clock } from "./format.js";
import { t, word } from "./i18n.js";
import { groupOf, may, now, signable, store } from "./store.js";

const DISPOSITIONS = ["handled", "false-alarm", "technical", "permitted", "duplicate", "test"];

const shelved = (incident) => incident.alarms.filter((alarm) => alarm.state !== "closed" && alarm.shelved_until_ms);

export class Actions {
  constructor(panel) {
    this.panel = panel;
    this.answer = h("p", { class: "answer hint", role: "status" });
    this.buttons = {};
    const make = (name, key, what) => {
      const button = h("button", { onclick: () => this.run(name) }, h("span", {}, t(what)), key ? h("kbd", {}, key.toUpperCase()) : null);
      this.buttons[name] = button;
      return button;
    };
    this.root = h(
      "div",
      { class: "actions", role: "group", "aria-label": t("actions") },
      make("acknowledge", "a", "acknowledge"),
      make("take", "t", "take"),
      make("handOver", "o", "hand-over"),
      make("note", "n", "note"),
      make("tell", "", "tell-protected"),
      make("shelve", "", "shelve"),
      make("unshelve", "", "unshelve"),
      make("replay", "r", "replay"),
      make("sign", "s", "countersign"),
      make("close", "s", "close-incident"),
      this.answer,
    );
    for (const name of ["acknowledge", "take", "sign"]) this.buttons[name].classList.add("main");
  }

  get incident() {
    return this.panel.incident;
  }

  get path() {
    return `/v1/incidents/${this.panel.id}`;
  }

  draw(incident) {
    const open = incident.state === "open";
    const waiting = groupOf(incident) === "waiting";
    const mine = incident.owner === store.session.name;
    const shelvable = incident.alarms.some((alarm) => alarm.state !== "closed" && !alarm.latched && !alarm.shelved_until_ms);
    const shown = {
      acknowledge: open && waiting && may("handle"),
      take: open && !waiting && !mine && may("handle"),
      handOver: open && may("handle"),
      note: open && may("handle"),
      tell: open && may("handle") && Boolean(incident.protected_id),
      shelve: open && shelvable && may("silence"),
      unshelve: open && may("silence") && shelved(incident).length > 0,
      replay: may("look-up"),
      sign: signable(incident),
      close: open && may("close") && !incident.closing,
    };
    for (const [name, button] of Object.entries(this.buttons)) button.hidden = !shown[name];
  }

  key(key) {
    const name = { a: "acknowledge", t: "take", o: "handOver", n: "note", r: "replay", s: this.buttons.sign.hidden ? "close" : "sign" }[key];
    if (!name || this.buttons[name].hidden) {
      // One key takes it in hand, whoever had it: acknowledging what is in hand is taking it.
      if (key === "a" && !this.buttons.take.hidden) this.run("take");
      else return false;
      return true;
    }
    this.run(name);
    return true;
  }

  say(text, wrong = false) {
    say(this.answer, text);
    this.answer.classList.toggle("error", wrong);
  }

  /** Send a command and say what became of it. */
  async send(path, body, done) {
    this.say(t("sending"));
    const { status, body: said } = await (body ? post(path, body) : remove(path));
    this.say(status === 202 ? t("waits-for-watch") : t(said.reason === "awaits-countersignature" ? "done-propose" : done, { time: clock(now()) }), status === 202);
    return said;
  }

  async run(name) {
    try {
      await this[name]();
    } catch (error) {
      this.say(error.words || String(error), true);
    }
  }

  acknowledge() {
    return this.send(`${this.path}/acknowledgements`, {}, "done-acknowledge");
  }

  take() {
    return this.send(`${this.path}/acknowledgements`, {}, "done-take");
  }

  tell() {
    dialog(t("tell-protected"), [h("p", {}, t("tell-words", { name: this.incident.protected_id }))], {
      submit: t("tell-protected"),
      cancel: t("cancel"),
      done: () => this.send(`${this.path}/protected-notices`, {}, "done-tell"),
    });
  }

  note() {
    const text = h("textarea", { name: "text", required: true, maxlength: 2000 });
    dialog(t("note"), [h("label", { class: "field" }, t("note-words"), text), h("p", { class: "hint" }, t("ctrl-enter"))], {
      submit: t("save"),
      cancel: t("cancel"),
      done: (form) => this.send(`${this.path}/notes`, { text: form.get("text") }, "done-note"),
    });
  }

  /** Offer it to somebody of the room; it is theirs when they take it. */
  async handOver() {
    const duty = await get("/v1/shifts", { background: true }).catch(() => ({ on_duty: [] }));
    const people = duty.on_duty.filter((name) => name !== store.session.name);
    dialog(
      t("hand-over"),
      [
        h("p", {}, t("hand-over-words")),
        h(
          "label",
          { class: "field" },
          t("hand-over-to"),
          h("input", { name: "to", list: "hand-over-to", required: true, maxlength: 64, pattern: "[A-Za-z0-9._@\\-]{1,64}", value: people.length === 1 ? people[0] : "" }),
          h("datalist", { id: "hand-over-to" }, people.map((one) => h("option", { value: one }))),
        ),
        h("label", { class: "field" }, t("hand-over-said"), h("textarea", { name: "text", maxlength: 1500 })),
      ],
      {
        submit: t("hand-over"),
        cancel: t("cancel"),
        done: (form) => this.send(`${this.path}/hand-overs`, { to: form.get("to"), text: form.get("text") }, "done-hand-over"),
      },
    );
  }

  shelve() {
    const alarms = this.incident.alarms.filter((alarm) => alarm.state !== "closed" && !alarm.latched && !alarm.shelved_until_ms);
    dialog(
      t("shelve"),
      [
        h("p", {}, t("shelve-words")),
        h("div", { class: "choices" }, alarms.map((alarm, index) => h("label", {}, h("input", { type: "radio", name: "alarm", value: alarm.id, checked: index === 0 }), word(alarm.alarm_class)))),
        h("label", { class: "field" }, t("minutes"), h("input", { name: "minutes", type: "number", min: 1, max: 10080, value: "30", required: true })),
        h("label", { class: "field" }, t("reason-for"), h("input", { name: "reason", required: true, maxlength: 500 })),
      ],
      {
        submit: t("shelve"),
        cancel: t("cancel"),
        done: (form) =>
          this.send(`/v1/alarms/${form.get("alarm")}/shelvings`, { reason: form.get("reason"), until_ms: Math.round(now() + Number(form.get("minutes")) * 60_000) }, "done-shelve"),
      },
    );
  }

  /** Let all of the incident that was silent be heard again. */
  async unshelve() {
    for (const { id } of shelved(this.incident)) await this.send(`/v1/alarms/${id}/shelvings`, null, "done-unshelve");
  }

  /** Be the second person: what was said to close it is read first, then signed. */
  sign() {
    const { by, disposition, note } = this.incident.closing;
    dialog(
      t("countersign"),
      [
        h("p", {}, t("countersign-words", { name: by, why: word(disposition) })),
        note ? h("blockquote", {}, note) : null,
        h("p", { class: "hint" }, t("ctrl-enter")),
      ],
      {
        submit: t("countersign-yes"),
        cancel: t("cancel"),
        done: () => this.send(`${this.path}/countersignatures`, {}, "done-close"),
      },
    );
  }

  replay() {
    location.hash = `#/replay/incident/${this.panel.id}`;
  }

  close() {
    const two = this.incident.alarms.some((alarm) => alarm.state !== "closed" && alarm.four_eyes);
    const active = this.incident.alarms.some((alarm) => alarm.state.startsWith("active"));
    const despite = h("label", { class: "check" }, h("input", { type: "checkbox", name: "despite" }), t("despite-active"));
    dialog(
      t("close-incident"),
      [
        h(
          "div",
          { class: "choices", role: "radiogroup", "aria-label": t("disposition") },
          DISPOSITIONS.map((one, index) => h("label", {}, h("input", { type: "radio", name: "disposition", value: one, required: true }), h("kbd", {}, String(index + 1)), word(one))),
        ),
        h("label", { class: "field" }, t("close-note"), h("textarea", { name: "note", maxlength: 2000, required: two })),
        two ? h("p", { class: "hint" }, t("close-four-eyes")) : null,
        active ? despite : null,
      ],
      {
        submit: t("close-incident"),
        cancel: t("cancel"),
        done: (form) =>
          this.send(
            `${this.path}/dispositions`,
            { disposition: form.get("disposition"), note: form.get("note") || "", despite_active: form.get("despite") === "on" },
            "done-close",
          ),
        onopen: (form) => {
          form.elements.disposition[0].focus();
          form.addEventListener("keydown", (event) => {
            if (/^[1-6]$/.test(event.key) && event.target.name !== "note") {
              form.elements.disposition[Number(event.key) - 1].checked = true;
              form.elements.note.focus();
              event.preventDefault();
            }
          });
        },
      },
    );
  }
}
