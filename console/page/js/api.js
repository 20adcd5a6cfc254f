// Requests to the API of this console.

let csrf = "";

/** A problem as the API tells it (RFC 9457), with words for a person. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.title || `HTTP ${status}`);
    this.status = status;
    this.code = body.code || "";
    this.errors = body.errors || [];
    const fields = this.errors.map((one) => `${one.field.replace(/^(body|query)\./, "")}: ${one.reason} ${one.detail || ""}`.trim());
    this.words = [body.title, body.detail, ...fields].filter(Boolean).join(". ");
  }
}

/** The token that makes changes ours. */
export function setCsrf(token) {
  csrf = token;
}

/** Called when the session is gone or locked. */
export const session = { lost: () => {}, locked: () => {} };

async function ask(method, path, { body, background = false, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (background) headers["X-Background"] = "1";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET") headers["X-CSRF-Token"] = csrf;
  let response;
  try {
    response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { title: "console-unreachable", code: "console-unreachable" });
  }
  const text = await response.text();
  const parsed = text ? JSON.parse(text) : null;
  if (response.ok) return { status: response.status, body: parsed };
  const problem = new Problem(response.status, parsed || {});
  if (problem.code === "not-signed-in") session.lost();
  if (problem.code === "session-locked") session.locked();
  throw problem;
}

export const get = async (path, options) => (await ask("GET", path, options)).body;
export const post = (path, body = {}) => ask("POST", path, { body });
export const remove = (path) => ask("DELETE", path);
