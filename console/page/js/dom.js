// Making elements, and small things around them.

/** Make an element: h("button", {class: "main", onclick: f}, "text", child ...). */
export function h(tag, props = {}, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") el.className = value;
    else if (name === "dataset") Object.assign(el.dataset, value);
    else if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
    else if (name in el && typeof value !== "string" && !name.startsWith("aria")) el[name] = value;
    else el.setAttribute(name, value === true ? "" : value);
  }
  el.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
  return el;
}

const SVG = "http://www.w3.org/2000/svg";

/** The same for SVG. */
export function s(tag, props = {}, ...children) {
  const el = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props)) {
    if (value !== undefined && value !== null) el.setAttribute(name, value);
  }
  el.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined));
  return el;
}

/** Set the text of an element only when it differs: most ticks change nothing. */
export function say(el, text) {
  if (el.textContent !== text) el.textContent = text;
}

/** Put children in this order. One that goes, comes or moves touches no other: a queue may hold hundreds. */
export function arrange(parent, wanted) {
  const kept = new Set(wanted);
  for (const el of [...parent.children]) if (!kept.has(el)) el.remove();
  let at = parent.firstChild;
  for (const el of wanted) {
    if (el === at) at = at.nextSibling;
    else if (at && el === at.nextSibling) {
      const later = at;
      at = el.nextSibling;
      later.remove();
    } else parent.insertBefore(el, at);
  }
}

const SHAPES = {
  critical: ["p1", "1", "M3 3h34v34H3z", 25],
  high: ["p2", "2", "M20 2l18 35H2z", 31],
  medium: ["p3", "3", "M20 38L2 4h36z", 18],
  low: ["p4", "4", "M20 2l18 18-18 18L2 20z", 25],
};

/** The sign of a priority: shape, number and colour say the same. Filled: somebody owes an answer. */
export function shape(priority, { filled = true, small = false, label = "" } = {}) {
  const [name, number, path, y] = SHAPES[priority] || SHAPES.low;
  const classes = ["shape", filled ? name : "quiet", small ? "small" : ""].join(" ").trim();
  return s(
    "svg",
    { class: classes, viewBox: "0 0 40 40", role: "img", "aria-label": label || priority },
    s("path", { class: "body", d: path }),
    s("text", { x: 20, y, "font-size": 18 }, number),
  );
}

/** A table from rows of cells; `heads` are texts. A head stands above its numbers as they do: right. */
export function table(caption, heads, rows, props = {}) {
  const numbers = [...(rows[0]?.children || [])].map((cell) => cell.classList.contains("num"));
  return h(
    "table",
    props,
    caption ? h("caption", { class: props.unseenCaption ? "unseen" : "" }, caption) : null,
    h("thead", {}, h("tr", {}, heads.map((head, index) => h("th", { scope: "col", class: numbers[index] ? "num" : undefined }, head)))),
    h("tbody", {}, rows),
  );
}

/** Open a dialog with a form; `done(form data)` may throw a problem, which is shown in it. */
export function dialog(title, fields, { submit, cancel, done, onopen }) {
  // A button says by its dots that it asks; what asks and what then does it need none.
  const plain = (text) => text.replace(/ …$/, "");
  const problem = h("p", { class: "error", role: "alert", hidden: true });
  const send = h("button", { class: "main", type: "submit" }, plain(submit));
  const form = h(
    "form",
    { method: "dialog", class: "stack" },
    h("h2", { id: "dialog-title" }, plain(title)),
    ...fields,
    problem,
    h("div", { class: "buttons" }, h("button", { type: "button", value: "cancel", onclick: () => box.close() }, cancel), send),
  );
  const box = h("dialog", { "aria-labelledby": "dialog-title" }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    try {
      await done(new FormData(form), box);
      box.close();
    } catch (error) {
      problem.hidden = false;
      say(problem, error.words || String(error));
    } finally {
      send.disabled = false;
    }
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  box.addEventListener("close", () => box.remove());
  document.getElementById("dialogs").append(box);
  box.showModal();
  if (onopen) onopen(form);
  return box;
}
