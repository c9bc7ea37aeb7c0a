// Where everything stands: which rows and sessions are shown, in which words, in which columns, and how far down.

const ROW = 25, GAP = 25, STRAY = 22, TOP = 14, GUTTER = 84;

/** The layout of all rows or, with `focus`, of those that belong to the proof. */
function layOut(focus) {
  const list = rows.map((_, index) => index).filter((index) => !focus || belongs(index));
  const order = columns(focus);
  const listed = new Set(list);
  const isShown = ({ from, lane, again }) => !again && order.includes(lane) && listed.has(from);
  const strays = [...run.unread, ...run.missing].filter(isShown);
  // As many words as fit into the window; but a few at any rate.
  let texts, across;
  for (let max = 40; max >= 20; max -= 4) {
    texts = list.map((index) => textOf(index, order, max));
    across = placeColumns(order, spaces(list, order, texts, strays));
    if (across.width <= $("pane").clientWidth) break;
  }
  return { focus, list, order, texts, strays, ...across, ...placeRows(list, strays, measureCallout(across.width)) };
}

/** The lanes from left to right. Sessions of one client stand side by side, and the broker in the middle. */
function columns(focus) {
  const client = (lane) => lanes[lane].client ?? lanes.length;
  const order = lanes.map((_, lane) => lane).filter((lane) => !focus || involved.has(lane));
  order.sort((a, b) => client(a) - client(b) || a - b);
  order.splice(Math.ceil(order.length / 2), 0, BROKER);
  return order;
}

/** How wide words are: their letters all have one width, and those of some scripts two. */
const advance = (() => {
  const probe = svg("text", "", {}, "x".repeat(100));
  $("picture").append(probe);
  const one = probe.getComputedTextLength() / 100 || 7.3;
  return (text) => [...text].reduce((sum, c) => sum + (c < "\u1100" || c === "\u2026" ? one : 2 * one), 0);
})();

/** What stands beside a row's dot: what happens, a line of the protocol, what else there is to say, what was lost by it. */
function textOf(index, order, max) {
  const row = rows[index], text = { ...wordsOf(row, max), loss: "" };
  const names = bereft(row).map(label);
  if (names.length) text.loss = "; " + names.join(", ") + " loses its name!";
  else if (unheard(index) === "wrong") text.loss = ", and nobody hears it";
  text.width = advance(text.verb + " " + text.line + text.rest + text.loss);
  text.left = onTheLeft(index, order);
  return text;
}

function wordsOf(row, max) {
  const line = row.line === null ? "" : clip(row.line, max);
  if (row.lane !== BROKER) return { verb: row.says, line, rest: "" };
  if (row.kind === "requested") {
    const verb = row.line === null ? "handles a refused line" : "handles";
    return { verb, line, rest: row.effects.length ? "" : " (and does nothing)" };
  }
  const orders = row.effects.flatMap(({ brief }) => brief ?? []).join("; ");
  const room = Math.max(16, max + 12 - row.says.length);
  return { verb: clip(row.says, max + 10), line: "", rest: orders && ": " + clip(orders, room) };
}

/**
 * Where words stand: away from the broker; those of the broker away from whoever it hears. When it hears nobody, then away
 * from whoever it strikes, so that no arrow runs through them.
 */
function onTheLeft(index, order) {
  const row = rows[index], middle = order.indexOf(BROKER);
  if (row.lane !== BROKER) return order.indexOf(row.lane) < middle;
  const struck = [...bereft(row), ...outOf[index].map(({ to }) => rows[to].lane)];
  const other = into[index].length > 0 ? row.about : struck[0] ?? row.about;
  return other !== null && order.indexOf(other) > middle;
}

const neverReaches = (lane) => "never reaches " + label(lane);

/** All that needs room beside its column. */
function spaces(list, order, texts, strays) {
  const beside = list.map((index, place) => (
    { column: order.indexOf(rows[index].lane), left: texts[place].left, width: texts[place].width + 20 }));
  for (const { hot, lane } of strays) {
    const column = order.indexOf(lane);
    if (hot) beside.push({ column, left: column < order.indexOf(BROKER), width: advance(neverReaches(lane)) + 34 });
  }
  return beside;
}

/** Places all columns, so that what stands beside them finds room. */
function placeColumns(order, beside) {
  const many = order.length - 1;
  const least = many <= 2 ? 150 : many <= 4 ? 110 : many <= 8 ? 92 : 66;
  const room = (pitch) => {
    let left = 50, right = 50;
    for (const space of beside) {
      if (space.left) left = Math.max(left, space.width - space.column * pitch);
      else right = Math.max(right, space.width - (many - space.column) * pitch);
    }
    return [left, right];
  };
  const free = $("pane").clientWidth - GUTTER - 2;
  let [left, right] = room(least);
  const pitch = Math.min(330, Math.max(least, (free - left - right) / Math.max(1, many)));
  [left, right] = room(pitch);
  const spare = Math.max(0, free - left - right - many * pitch);
  const xs = new Map(order.map((lane, column) => [lane, Math.round(GUTTER + left + spare / 2 + column * pitch)]));
  return { pitch, xs, width: Math.round(GUTTER + left + right + spare + many * pitch) };
}

/** Places all rows, with gaps where time passes or rows are left out, and room for the callout behind the last proof. */
function placeRows(list, strays, callout) {
  const last = proofs.at(-1) ?? rows.length - 1;
  const ys = [], gaps = [], crosses = strays.filter((stray) => stray.hot);
  let y = TOP + ROW / 2, calloutY = 0;
  list.forEach((index, place) => {
    const before = place ? list[place - 1] : -1;
    const later = rows[index].ms - (place ? rows[before].ms : 0);
    const left = index - before - 1;
    if (later > 0 || left > 0) {
      const said = [left ? count(left, "row", "rows") + " left out" : "", later ? `\u2026 ${number(later)} ms later` : ""];
      gaps.push([y, said.filter((text) => text).join("   ")]);
      y += GAP;
    }
    ys[index] = y;
    y += ROW + STRAY * crosses.filter((stray) => stray.from === index).length;
    if (index === last && run.violation) {
      calloutY = y;
      y += callout + 16;
    }
  });
  return { ys, gaps, calloutY, bottom: y + 4 };
}

/** The callout's height with its text in it. */
function measureCallout(width) {
  const box = $("callout");
  box.replaceChildren();
  if (!run.violation) return 0;
  box.append(html("b", "", run.rule + " broken: "), violation);
  box.style.width = Math.min(520, width - GUTTER - 10) + "px";
  return box.offsetHeight;
}
