// Signing in, and the lock on the screen.

import { get, post, Problem, setCsrf } from "./api.js";
import { h, say } from "./dom.js";
import { setLanguage, t } from "./i18n.js";
import { allowSound } from "./sound.js";
import { store } from "./store.js";

function field(name, label, props) {
  return h("label", { class: "field" }, label, h("input", { name, required: true, ...props }));
}

/** Ask who somebody is; resolves with the session. */
export async function signIn(root) {
  const ways = await get("/v1/session/ways");
  if (!localStorage.getItem("language")) setLanguage(ways.language);
  return new Promise((resolve) => {
    const problem = h("p", { class: "error", role: "alert", hidden: true });
    const send = h("button", { class: "main", type: "submit" }, t("sign-in"));
    const form = h(
      "form",
      { class: "stack", autocomplete: "on" },
      h("h1", {}, "Afstand"),
      ways.site_name ? h("p", { class: "dim" }, ways.site_name) : null,
      ways.local_accounts
        ? [
            field("name", t("name"), { autocomplete: "username", autofocus: true }),
            field("password", t("password"), { type: "password", autocomplete: "current-password" }),
            field("code", t("code"), { inputmode: "numeric", autocomplete: "one-time-code", pattern: "[0-9]{6}", maxlength: "6" }),
            problem,
            send,
          ]
        : null,
      ways.oidc ? h("a", { class: "button", href: "/v1/session/oidc" }, t("sign-in-oidc")) : null,
    );
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      allowSound();
      send.disabled = true;
      const said = Object.fromEntries(new FormData(form));
      try {
        const { body } = await post("/v1/session", said);
        setCsrf(body.csrf_token);
        resolve(body);
      } catch (error) {
        problem.hidden = false;
        say(problem, error instanceof Problem && error.status === 429 ? t("too-many") : error.code === "console-unreachable" ? t("trouble-connection") : t("sign-in-wrong"));
        form.elements.code.value = "";
        form.elements.code.focus();
        send.disabled = false;
      }
    });
    root.replaceChildren(h("main", { class: "sign-in" }, form));
    form.elements.name?.focus();
  });
}

/** Cover the page until the password is said again; alarms are still counted and heard. */
export function lockScreen(root, { unlocked, signedOut }) {
  const problem = h("p", { class: "error", role: "alert", hidden: true });
  const count = h("p", { class: "locked-count num" });
  const draw = () => say(count, String(store.tick.critical));
  const local = store.session.source === "local";
  const form = h(
    "form",
    { class: "stack" },
    h("h1", {}, t("locked")),
    h("p", { class: "dim" }, t("locked-for", { name: store.session.name })),
    count,
    h("p", {}, t("locked-critical")),
    local ? field("password", t("password"), { type: "password", autocomplete: "current-password" }) : null,
    problem,
    local ? h("button", { class: "main", type: "submit" }, t("unlock")) : h("a", { class: "button", href: "/v1/session/oidc" }, t("sign-in-oidc")),
    h("button", { class: "plain", type: "button", onclick: signedOut }, t("sign-out")),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const { body } = await post("/v1/session/unlock", { password: form.elements.password.value });
      store.removeEventListener("tick", draw);
      unlocked(body);
    } catch {
      problem.hidden = false;
      say(problem, t("sign-in-wrong"));
      form.elements.password.value = "";
      form.elements.password.focus();
    }
  });
  store.addEventListener("tick", draw);
  draw();
  root.replaceChildren(h("main", { class: "sign-in" }, form));
  form.elements.password?.focus();
}
