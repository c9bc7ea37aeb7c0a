// The picture of a layout: heads, lanes, gaps, rows, and the callout that says what is wrong.

/** The layout that is drawn, and what of the drawing stays in sight when the lanes are wider than the window. */
let plan = null, margin = null;

const xOf = (row) => plan.xs.get(row.lane);

/** The height at which a row is or, if it is left out, would be. */
function yOf(index) {
  const { ys, list, bottom } = plan;
  if (ys[index] !== undefined) return ys[index];
  const behind = list.find((other) => other > index);
  return behind === undefined ? bottom : ys[behind] - ROW / 2;
}

function draw(layout) {
  plan = layout;
  const { width, bottom } = plan, picture = $("picture");
  picture.replaceChildren();
  picture.setAttribute("width", width);
  picture.setAttribute("height", bottom);
  $("sheet").style.width = width + "px";
  margin = svg("g");
  margin.append(svg("rect", "margin", { x: 0, y: 0, width: GUTTER - 8, height: bottom }));
  placeCallout();
  drawHeads();
  picture.append(...plan.list.map(drawBehind));
  drawLanes(picture);
  drawGaps(picture);
  drawArrows(picture);
  plan.list.forEach((_, place) => drawRow(picture, place));
  picture.append(margin);
  slide();
}

/** The times stay in sight. */
function slide() {
  const x = $("pane").scrollLeft;
  margin.setAttribute("transform", `translate(${x} 0)`);
  margin.firstChild.style.visibility = x > 0 ? "visible" : "hidden";
}

function placeCallout() {
  if (!run.violation) return;
  const box = $("callout"), index = proofs.at(-1);
  const x = index === undefined ? plan.xs.get(BROKER) : xOf(rows[index]);
  const left = Math.max(GUTTER, Math.min(x - 90, plan.width - box.offsetWidth - 8));
  box.style.left = left + "px";
  box.style.top = plan.calloutY + $("heads").offsetHeight + 2 + "px";
  box.style.setProperty("--tip", x - left - 2 + "px");
  box.classList.toggle("free", index === undefined);
}

function drawHeads() {
  $("heads").replaceChildren(...plan.order.map((lane) => {
    const head = lane === BROKER ? headOfBroker() : headOf(lane);
    head.style.left = plan.xs.get(lane) + "px";
    head.style.width = Math.min(200, Math.max(62, plan.pitch - 4)) + "px";
    return head;
  }));
}

const narrow = () => plan.pitch < 130;

function headOfBroker() {
  const head = html("div", "head");
  head.append(html("b", "", "broker"), html("small", "", narrow() ? "in order" : "one event at a time"));
  return head;
}

function headOf(lane) {
  const head = html("div", "head"), { name, client } = lanes[lane];
  head.classList.toggle("hot", proven.has(lane) || run.missing.some((stray) => stray.lane === lane));
  head.classList.toggle("narrow", narrow());
  head.append(name === null ? html("b", "nobody", "no name") : html("b", "", shown(name)));
  head.append(html("small", "", "session " + lane));
  if (client !== null) head.append(html("small", "", (narrow() ? "" : ", ") + "client " + (client + 1)));
  head.title = `${label(lane)}: session ${lane}, connection #${lane + 1}`;
  return head;
}

/** What is clicked, and lights up when a row is the current one. */
function drawBehind(index) {
  return svg("rect", "hit", { x: 0, y: plan.ys[index] - ROW / 2, width: plan.width, height: ROW, "data-row": index });
}

const vertical = (cls, x, y1, y2) => svg("line", cls, { x1: x, x2: x, y1, y2 });

function drawLanes(picture) {
  picture.append(vertical("lane broker", plan.xs.get(BROKER), 0, plan.bottom));
  for (const lane of plan.order.filter((lane) => lane !== BROKER)) {
    const mine = (row) => row.lane === lane || (row.about === lane && row.kind === "connected");
    const first = rows.findIndex(mine), last = rows.findLastIndex(mine);
    if (first < 0) continue;
    const x = plan.xs.get(lane), y = yOf(first);
    picture.append(vertical("lane", x, y, over.has(lane) ? yOf(last) : plan.bottom));
    picture.append(svg("line", "lane", { x1: x - 6, x2: x + 6, y1: y, y2: y }));
    drawHoldings(picture, lane, x);
  }
}

/** From when to when a session holds its name, as the broker sees it. */
function drawHoldings(picture, lane, x) {
  let since = -1, found = true;
  const until = (y) => {
    if (since >= 0) picture.append(vertical(found ? "holds" : "holds not", x, yOf(since), y));
  };
  rows.forEach((row, index) => {
    const view = row.state && row.state.changed.find((view) => laneOf(view.conn) === lane);
    if (!view) return;
    until(yOf(index));
    since = view.name === null ? -1 : index;
    found = view.found;
  });
  until(plan.bottom);
}

function drawGaps(picture) {
  for (const [y, text] of plan.gaps) {
    picture.append(svg("line", "gapline", { x1: GUTTER + advance(text) + 16, x2: plan.width - 8, y1: y, y2: y }));
    margin.append(svg("text", "gap", { x: GUTTER, y: y + 4 }, text));
  }
}

function drawRow(picture, place) {
  const index = plan.list[place], row = rows[index], x = xOf(row), y = plan.ys[index];
  if (place === 0 || rows[plan.list[place - 1]].ms !== row.ms) {
    margin.append(svg("text", "clock", { x: GUTTER - 14, y: y + 4, "text-anchor": "end" }, number(row.ms) + " ms"));
  }
  const quiet = proofs.length > 0 && !related.has(index) ? "quiet" : "";
  if (row.witness) {
    picture.append(svg("circle", "ring", { cx: x, cy: y, r: 12.5 }), svg("circle", "witness", { cx: x, cy: y, r: 9.5 }));
    picture.append(svg("text", "number", { x, y: y + 4 }, String(row.witness)));
  } else {
    const cls = ["dot", row.kind, quiet];
    if (row.state) cls.push("broker");
    if (row.kind === "read" && into[index].length === 0) cls.push("orphan");
    picture.append(svg("circle", cls.join(" "), { cx: x, cy: y, r: row.kind === "ticked" ? 4 : 5.5 }));
  }
  picture.append(drawText(plan.texts[place], x, y, row.witness, quiet));
}

function drawText({ verb, line, rest, loss, left }, x, y, witness, quiet) {
  const offset = (witness ? 18 : 13) * (left ? -1 : 1);
  const text = svg("text", quiet, { x: x + offset, y: y + 4, "text-anchor": left ? "end" : "start" });
  text.append(svg("tspan", "verb", {}, verb + (line ? " " : "")));
  if (line) text.append(svg("tspan", witness ? "hot" : "", {}, line));
  if (rest) text.append(svg("tspan", "verb", {}, rest));
  if (loss) text.append(svg("tspan", "hot", {}, loss));
  return text;
}
