// The frame: who is signed in, where one is, what is wrong, what time it is; and the keys.

import { get, post, remove, session as sessionHooks, setCsrf } from "./api.js";
import { drawBanners } from "./banners.js";
import { dialog, h, say, shape } from "./dom.js";
import { clock } from "./format.js";
import { language, setLanguage, t, word } from "./i18n.js";
import { lockScreen, signIn } from "./signin.js";
import { allowSound, hush, setTitle, soundWords, tickSound } from "./sound.js";
import { follow, may, now, stop, store } from "./store.js";

const PAGES = [
  { name: "incidents", right: "queue", load: () => import("./room.js") },
  { name: "cases", right: "cases", load: () => import("./cases.js") },
  { name: "orders", right: "orders", load: () => import("./orders.js") },
  { name: "devices", right: "cases", load: () => import("./devices.js") },
  { name: "caseload", right: "caseload", load: () => import("./caseload.js") },
  { name: "shift", right: "shift", load: () => import("./shift.js") },
  { name: "wall", right: "indicators", load: () => import("./wall.js") },
  { name: "consultations", right: "consultations", load: () => import("./consultations.js") },
  { name: "replay", right: "look-up", load: () => import("./replay.js"), hidden: true },
  { name: "last-known", right: "last-known", load: () => import("./lastknown.js"), hidden: true },
];

const app = document.getElementById("app");
let parts = null;
let open = null;
let shown = "";
let routing = 0;

function theme(name) {
  document.documentElement.dataset.theme = name;
  localStorage.setItem("theme", name);
  store.dispatchEvent(new Event("theme"));
}

export const keysOn = () => localStorage.getItem("keys") !== "off";

async function boot() {
  setLanguage(localStorage.getItem("language") || "nl");
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = localStorage.getItem("theme") || (dark ? "dark" : "light");
  try {
    store.session = await get("/v1/session", { background: true });
    setCsrf(store.session.csrf_token);
  } catch (error) {
    if (error.status !== 401) {
      app.replaceChildren(h("p", { class: "loading", role: "alert" }, t("trouble-connection")));
      setTimeout(boot, 2_000);
      return;
    }
    store.session = await signIn(app);
  }
  if (store.session.locked) locked();
  else await begin();
}

async function begin() {
  sessionHooks.lost = () => location.reload();
  sessionHooks.locked = () => locked();
  store.settings = await get("/v1/page-settings", { background: true });
  if (!localStorage.getItem("language")) setLanguage(store.settings.language);
  setTitle(store.settings.site_name);
  frame();
  try {
    await follow();
  } catch (error) {
    if (!store.session.locked) throw error;
    return; // locked before it had come to the queue
  }
  route();
}

function locked() {
  if (store.session) store.session.locked = true;
  leave();
  parts = null;
  if (!store.connected) follow().catch(() => {});
  lockScreen(app, {
    unlocked: async (session) => {
      store.session = session;
      setCsrf(session.csrf_token);
      await begin();
    },
    signedOut,
  });
}

async function signedOut() {
  stop();
  await remove("/v1/session").catch(() => {});
  location.hash = "";
  location.reload();
}

function leave() {
  if (open && open.close) open.close();
  open = null;
  shown = "";
}

// --- the frame -------------------------------------------------------------------------------------

function frame() {
  const links = PAGES.filter((page) => may(page.right) && !page.hidden).map((page) => {
    const count = page.name === "incidents" ? h("span", { class: "count" }) : null;
    return { page, count, link: h("a", { href: `#/${page.name}` }, t(`page-${page.name}`), count) };
  });
  const time = h("time", { class: "clock" });
  const sound = h("button", { class: "plain", onclick: () => (allowSound(), hush(), drawSound()) });
  const banners = h("div", { class: "banners", role: "alert" });
  const main = h("main", { id: "main", tabindex: "-1" });
  const drawSound = () => say(sound, soundWords());
  parts = { links, time, banners, main, drawSound };
  app.replaceChildren(
    h(
      "div",
      { class: "frame" },
      h(
        "header",
        { class: "bar" },
        h("span", { class: "name" }, store.settings.site_name || "Afstand"),
        h("nav", { "aria-label": t("pages") }, links.map((one) => one.link)),
        h(
          "div",
          { class: "right" },
          sound,
          h("button", { class: "plain", title: t("theme"), onclick: () => (theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark")) }, h("span", { class: "long" }, t("theme")), h("span", { class: "short" }, t("theme-short"))),
          h("button", { class: "plain", lang: language() === "nl" ? "en" : "nl", onclick: switchLanguage }, h("span", { class: "long" }, language() === "nl" ? "English" : "Nederlands"), h("span", { class: "short" }, language() === "nl" ? "EN" : "NL")),
          h("button", { class: "plain", onclick: help }, t("help"), h("kbd", {}, "?")),
          h("button", { class: "plain", onclick: lockNow }, t("lock"), h("kbd", {}, "L")),
          h("button", { class: "plain", onclick: signedOut, title: `${store.session.name}, ${word(store.session.role)}` }, store.session.name),
          time,
        ),
      ),
      banners,
      main,
    ),
  );
  drawSound();
  draw();
}

function switchLanguage() {
  localStorage.setItem("language", language() === "nl" ? "en" : "nl");
  setLanguage(localStorage.getItem("language"));
  leave();
  frame();
  route();
}

async function lockNow() {
  await post("/v1/session/lock");
  locked();
}

function draw() {
  if (!parts) return;
  drawBanners(parts.banners);
  say(parts.time, clock(now()));
  for (const { count } of parts.links) {
    if (!count) continue;
    say(count, String(store.tick.waiting));
    count.classList.toggle("waiting", store.tick.critical > 0);
    count.hidden = store.tick.waiting === 0;
  }
  parts.drawSound();
}

async function route() {
  if (!parts) return;
  const [name, ...rest] = location.hash.replace(/^#\//, "").split("/").map(decodeURIComponent);
  const allowed = PAGES.filter((page) => may(page.right));
  const page = allowed.find((one) => one.name === name) || allowed[0];
  for (const { page: one, link } of parts.links) {
    if (one === page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const known = page.name === name ? rest : [];
  if (open && shown === page.name && open.go) {
    open.go(known);
    return;
  }
  leave();
  shown = page.name;
  // Who goes on while a page still loads wants the last one only: two would both live on.
  routing += 1;
  const turn = routing;
  const { show } = await page.load();
  if (turn !== routing || shown !== page.name) return;
  parts.main.replaceChildren();
  parts.main.className = "";
  open = show(parts.main, known) || {};
}

// --- keys --------------------------------------------------------------------------------------------

const KEYS = [
  ["↑ ↓ J K", "key-move"],
  ["A", "key-acknowledge"],
  ["T", "key-take"],
  ["N", "key-note"],
  ["O", "key-hand-over"],
  ["S", "key-close"],
  ["R", "key-replay"],
  ["M", "key-hush"],
  ["L", "key-lock"],
  ["1 … 9", "key-pages"],
  ["?", "key-help"],
];

function help() {
  const box = h("input", { type: "checkbox", name: "keys", checked: keysOn() });
  dialog(
    t("help-title"),
    [
      h("div", { class: "keys" }, KEYS.flatMap(([keys, what]) => [h("span", {}, keys.split(" ").map((key) => (key.length > 1 && key !== "…" ? key : h("kbd", {}, key)))), h("span", {}, t(what))])),
      h("h3", {}, t("help-signs")),
      h("div", { class: "row" }, ["critical", "high", "medium", "low"].map((one) => h("span", { class: "row" }, shape(one, { small: true, label: "" }), t(`priority-${one}`)))),
      h("p", {}, t("help-signs-words")),
      h("label", { class: "check" }, box, t("help-keys-on")),
      h("p", { class: "hint" }, `${store.session.name}, ${word(store.session.role)}. ${t("help-session")}`),
    ],
    {
      submit: t("close"),
      cancel: t("cancel"),
      done: async () => localStorage.setItem("keys", box.checked ? "on" : "off"),
    },
  );
}

document.addEventListener("keydown", (event) => {
  if (!parts || event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
  if (event.target.closest("input, select, textarea")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "?") help();
  else if (!keysOn()) return;
  else if (key === "l") lockNow();
  else if (key === "m") {
    allowSound();
    hush();
    parts.drawSound();
  } else if (/^[1-9]$/.test(key)) {
    const link = parts.links[Number(key) - 1];
    if (link) location.hash = `#/${link.page.name}`;
  } else if (!(open && open.key && open.key(key, event))) return;
  event.preventDefault();
});

document.addEventListener("pointerdown", allowSound, { once: true });
addEventListener("hashchange", route);
store.addEventListener("tick", () => {
  draw();
  tickSound();
});
store.addEventListener("incidents", tickSound);
for (const name of ["health", "connection"]) store.addEventListener(name, draw);
store.addEventListener("signed-out", () => location.reload());
store.addEventListener("lock", (event) => {
  if (event.detail && store.session && !store.session.locked) locked();
});
// While the stream is silent nobody ticks: the clock goes on, and so does the word that it is silent.
setInterval(draw, 1_000);

boot();
