// What leads from row to row, and what leads nowhere.

function drawArrows(picture) {
  for (const hot of [false, true]) {
    const drawn = arrows.filter((arrow) => arrow.hot === hot && isDrawn(arrow.from) && isDrawn(arrow.to));
    picture.append(...drawn.map(drawArrow));
  }
  for (const index of plan.list) {
    drawUnheard(picture, index);
    drawBereft(picture, index);
    drawTie(picture, index);
  }
  plan.strays.forEach((stray, place) => drawStray(picture, stray, plan.strays.slice(0, place)));
}

const isDrawn = (index) => plan.ys[index] !== undefined;

function drawArrow({ from, to, hot, changed }) {
  const cls = ["arrow", rows[from].lane === BROKER ? "tell" : "ask"];
  if (hot) cls.push("hot");
  if (changed) cls.push("changed");
  const d = arrowPath(xOf(rows[from]), plan.ys[from], xOf(rows[to]), plan.ys[to]);
  return svg("path", cls.join(" "), { d, "data-row": from + " " + to });
}

/** A line with an open head, which stops short of the dots at its ends. */
function arrowPath(x1, y1, x2, y2) {
  const length = Math.hypot(x2 - x1, y2 - y1) || 1;
  const ux = (x2 - x1) / length, uy = (y2 - y1) / length;
  const ex = x2 - ux * 8, ey = y2 - uy * 8;
  const wing = (side) => `${ex - ux * 8 - side * uy * 4.5} ${ey - uy * 8 + side * ux * 4.5}`;
  return `M${x1 + ux * 6} ${y1 + uy * 6} L${ex} ${ey} M${wing(1)} L${ex} ${ey} L${wing(-1)}`;
}

/** A cross of this size around the point that a path has come to. */
const cross = (size) => `m${-size} ${-size} l${2 * size} ${2 * size} m0 ${-2 * size} l${-2 * size} ${2 * size}`;

/** Something that a client did and the broker never heard of. */
function drawUnheard(picture, index) {
  const how = unheard(index);
  if (how === null) return;
  const x = xOf(rows[index]), way = plan.xs.get(BROKER) - x, wrong = how === "wrong";
  const end = x + (wrong ? way * 0.6 : Math.sign(way) * 30);
  const d = `M${x} ${plan.ys[index]} H${end} ${cross(wrong ? 6 : 3.5)}`;
  picture.append(svg("path", wrong ? "stub hot" : "stub", { d }));
}

/** Sessions that an event cost their names, though it was not about them. */
function drawBereft(picture, index) {
  const { xs, ys } = plan, y = ys[index];
  for (const lane of bereft(rows[index]).filter((lane) => xs.has(lane))) {
    const d = `M${xs.get(BROKER)} ${y} L${xs.get(lane)} ${y + ROW / 2} ${cross(5)}`;
    picture.append(svg("path", "bereft", { d }));
  }
}

/** An event that no write of the client explains: only what it is about. */
function drawTie(picture, index) {
  const { lane, about } = rows[index], y = plan.ys[index];
  if (lane !== BROKER || about === null || !plan.xs.has(about) || into[index].length > 0) return;
  picture.append(svg("line", "tie", { x1: plan.xs.get(BROKER), x2: plan.xs.get(about), y1: y, y2: y }));
}

/** Something that was to be sent, or should have been, and never arrived. */
function drawStray(picture, { from, lane, hot, ghost }, before) {
  const x1 = xOf(rows[from]), y1 = plan.ys[from], x = plan.xs.get(lane), middle = plan.xs.get(BROKER);
  const side = x < middle ? -1 : 1;
  const earlier = before.filter((other) => other.hot && other.from === from).length;
  const x2 = hot ? x - side * 9 : middle + side * Math.min(46, Math.abs(x - middle) * 0.5);
  const y2 = hot ? y1 + ROW * 0.9 + earlier * STRAY : y1 + ROW * 0.45;
  const cls = hot ? "stub hot" : "stub";
  picture.append(svg("path", cls + (ghost ? " ghost" : ""), { d: `M${x1} ${y1} L${x2} ${y2}`, "data-row": from }));
  picture.append(svg("path", cls, { d: `M${x2} ${y2} ${cross(hot ? 6 : 3.5)}`, "data-row": from }));
  if (!hot) return;
  const anchor = side < 0 ? "end" : "start";
  picture.append(svg("text", "hot", { x: x + side * 10, y: y2 + 5, "text-anchor": anchor }, neverReaches(lane)));
}
