// Dutch and English. Words of the service (reasons, kinds, states) are codes: `word` puts them into
// words; a code without words is shown as it is, with spaces, so that nothing is ever hidden.

import { EN_WORDS, NL_WORDS } from "./codes.js";
import { EN, NL } from "./words.js";

let current = "nl";

export function setLanguage(name) {
  current = name === "en" ? "en" : "nl";
  document.documentElement.lang = current;
}

export const language = () => current;

/** A text of the page. {name} is filled from `values`. */
export function t(key, values = {}) {
  const text = (current === "nl" ? NL : EN)[key] ?? EN[key] ?? key;
  return text.replace(/{(\w+)}/g, (_, name) => values[name] ?? "");
}

/** A code of the service in words. */
export function word(code) {
  if (!code) return "";
  return (current === "nl" ? NL_WORDS : EN_WORDS)[code] ?? String(code).replaceAll("-", " ");
}

/** A text that the service gives in both languages. */
export const both = (texts) => (texts ? texts[current] || texts.en : "");
