// A sound for what is critical and unanswered, and its count in the title of the window.

import { t } from "./i18n.js";
import { may, store } from "./store.js";

const EVERY_MS = 5_000;
const QUIET_MS = 60_000;
let audio = null;
let lastMs = 0;
let quietUntil = 0;
let title = "Afstand";

/** Browsers allow sound after somebody has touched the page. */
export function allowSound() {
  audio = audio || new AudioContext();
  if (audio.state === "suspended") audio.resume();
}

export const soundAllowed = () => Boolean(audio) && audio.state === "running";

/** Silence for a minute, or again. */
export function hush() {
  quietUntil = quietUntil > Date.now() ? 0 : Date.now() + QUIET_MS;
  store.dispatchEvent(new Event("sound"));
}

export const hushed = () => quietUntil > Date.now();

function tone(at, frequency, length) {
  const oscillator = audio.createOscillator();
  const gain = audio.createGain();
  oscillator.frequency.value = frequency;
  gain.gain.setValueAtTime(0, at);
  gain.gain.linearRampToValueAtTime(0.25, at + 0.02);
  gain.gain.setValueAtTime(0.25, at + length - 0.04);
  gain.gain.linearRampToValueAtTime(0, at + length);
  oscillator.connect(gain).connect(audio.destination);
  oscillator.start(at);
  oscillator.stop(at + length);
}

/** What waits, by the incidents themselves: the tick tells it up to a second later. */
function counts() {
  if (!store.session || store.session.locked || !may("queue")) return store.tick;
  let [critical, waiting] = [0, 0];
  for (const one of store.incidents.values()) {
    if (one.state !== "open" || one.due_ms === null) continue;
    waiting += 1;
    if (one.priority === "critical") critical += 1;
  }
  return { critical, waiting };
}

/** Called every second, and when an incident changes. */
export function tickSound() {
  const { critical, waiting } = counts();
  const name = title;
  const text = critical ? `(${critical}!) ${name}` : waiting ? `(${waiting}) ${name}` : name;
  if (document.title !== text) document.title = text;
  if (!critical || hushed() || !soundAllowed() || Date.now() - lastMs < EVERY_MS) return;
  lastMs = Date.now();
  tone(audio.currentTime, 880, 0.18);
  tone(audio.currentTime + 0.22, 660, 0.28);
}

export function setTitle(name) {
  title = name ? `Afstand · ${name}` : "Afstand";
  document.title = title;
}

export const soundWords = () => (hushed() ? t("sound-hushed") : soundAllowed() ? t("sound-on") : t("sound-blocked"));
