// Times, ages, distances and people, as an operator reads them.

import { t, language, word } from "./i18n.js";
import { now } from "./store.js";

const pad = (number) => String(number).padStart(2, "0");

/** Time of day with seconds, local; with the date when it is not today. */
export function clock(ms) {
  if (ms === null || ms === undefined) return "–";
  const at = new Date(ms);
  const time = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  const today = new Date(now());
  if (at.toDateString() === today.toDateString()) return time;
  return `${at.getDate()} ${at.toLocaleString(language(), { month: "short" })} ${time}`;
}

/** Date and time without seconds. */
export function day(ms) {
  if (ms === null || ms === undefined) return "–";
  return new Date(ms).toLocaleString(language(), { dateStyle: "medium", timeStyle: "short" });
}

/** A span as 0:07, 12:40, 3:05:00, 2 d. */
export function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s >= 172_800) return `${Math.floor(s / 86_400)} d`;
  if (s >= 3_600) return `${Math.floor(s / 3_600)}:${pad(Math.floor((s % 3_600) / 60))}:${pad(s % 60)}`;
  return `${Math.floor(s / 60)}:${pad(s % 60)}`;
}

/** A span to the minute, for what need not be counted in seconds: < 1 min, 12 min, 3:05 u, 2 d. */
export function minutes(ms) {
  const whole = Math.floor(Math.max(0, ms) / 60_000);
  if (whole < 1) return "< 1 min";
  if (whole < 60) return `${whole} min`;
  if (whole < 2_880) return `${Math.floor(whole / 60)}:${pad(whole % 60)} ${t("hour-short")}`;
  return `${Math.floor(whole / 1_440)} d`;
}

/** An age in words short enough for a label: 8 s, 3 min, 2 u. */
export function age(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 120) return `${s} s`;
  if (s < 7_200) return `${Math.round(s / 60)} min`;
  if (s < 172_800) return `${Math.round(s / 3_600)} ${t("hour-short")}`;
  return `${Math.round(s / 86_400)} d`;
}

/** Metres as one says them. */
export function metres(m) {
  if (m === null || m === undefined) return "–";
  if (m < 1_000) return `${Math.round(m)} m`;
  return `${(m / 1000).toLocaleString(language(), { maximumFractionDigits: m < 10_000 ? 2 : 1 })} km`;
}

export const percent = (share1024) => (share1024 === null || share1024 === undefined ? "–" : `${Math.round((100 * share1024) / 1024)} %`);

export const speed = (m_s) => (m_s === null || m_s === undefined ? "–" : `${Math.round(m_s * 3.6)} km/${t("hour-short")}`);

export function degrees(e7) {
  return (e7 / 1e7).toFixed(5);
}

/** Who an incident is about. */
export function who(incident) {
  const both = [incident.wearer_id, incident.protected_id].filter(Boolean);
  if (both.length) return both.join(" → ");
  return word(incident.subject.replace(/^drill\//, "").replace(/^(person|device|system)\//, ""));
}

export const compass = (deg) => (deg === null || deg === undefined ? "–" : ["N", "NO", "O", "ZO", "Z", "ZW", "W", "NW"].map((one) => (language() === "nl" ? one : one.replace("O", "E").replace("Z", "S")))[Math.round(deg / 45) % 8]);
