// Who looked at what, and why.

import { get } from "./api.js";
import { h, table } from "./dom.js";
import { day } from "./format.js";
import { t, word } from "./i18n.js";

export function show(root) {
  root.className = "page";
  const list = h("div", { class: "scroll" });
  const person = h("input", { name: "person", type: "search" });
  const by = h("input", { name: "by", type: "search" });
  const more = h("button", { hidden: true, onclick: () => load(last) }, t("more"));
  let last = "";
  let rows = [];
  const form = h("form", { class: "row" }, h("label", { class: "field" }, t("about-person"), person), h("label", { class: "field" }, t("by-whom"), by), h("button", { type: "submit" }, t("search")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    rows = [];
    load("");
  });

  async function load(before) {
    const asked = new URLSearchParams({ person: person.value.trim(), by: by.value.trim(), before });
    const found = await get(`/v1/consultations?${asked}`);
    rows.push(...found.consultations);
    last = found.consultations.at(-1)?.key ?? "";
    more.hidden = found.consultations.length < 200;
    list.replaceChildren(
      table(
        t("page-consultations"),
        [t("time"), t("by-whom"), t("role"), t("what"), t("about-person"), t("reason-for")],
        rows.map(({ said }) =>
          h(
            "tr",
            {},
            h("td", { class: "nowrap" }, day(said.at_ms)),
            h("td", {}, said.by),
            h("td", {}, word(said.role)),
            h("td", {}, word(said.what)),
            h("td", {}, said.persons.slice(0, 5).join(", "), said.persons.length > 5 ? ` +${said.persons.length - 5}` : ""),
            h("td", {}, said.incident_id || said.reason || ""),
          ),
        ),
        { unseenCaption: true },
      ),
    );
  }
  root.replaceChildren(h("h1", {}, t("page-consultations")), form, list, more);
  load("").catch((error) => list.replaceChildren(h("p", { class: "error", role: "alert" }, error.words)));
  return {};
}
