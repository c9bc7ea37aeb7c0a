// What all the other parts use: elements, and texts that look like what they are. Whatever a run says is put into text
// nodes and attributes, never into markup.

const $ = (id) => document.getElementById(id);

function html(tag, cls, text) {
  const element = document.createElement(tag);
  if (cls) element.className = cls;
  if (text !== undefined) element.textContent = text;
  return element;
}

function svg(tag, cls, attributes, text) {
  const element = document.createElementNS($("picture").namespaceURI, tag);
  if (cls) element.setAttribute("class", cls);
  for (const name in attributes) element.setAttribute(name, attributes[name]);
  if (text !== undefined) element.textContent = text;
  return element;
}

/** What has no shape of its own, or changes that of its neighbours, is shown by its number. */
function shown(text) {
  const escape = (c) => "\\u{" + c.codePointAt(0).toString(16) + "}";
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, escape);
}

/** Long runs of one character say nothing but how long they are. */
const squeeze = (text) => shown(text).replace(/(.)\1{15,}/gu, (all, c) => c + c + c + "\u2026(" + all.length + ")");

function clip(text, max) {
  const line = squeeze(text);
  return line.length > max ? line.slice(0, max - 1) + "\u2026" : line;
}

const number = (n) => n.toLocaleString("en");
const count = (n, one, many) => (n === 1 ? "1 " + one : number(n) + " " + many);
