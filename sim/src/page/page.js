"use strict";
// Draws the run that is written as JSON in the element `data`. Whatever a run says is put into text nodes and attributes,
// never into markup.
(() => {
  const $ = (id) => document.getElementById(id);
  const run = JSON.parse($("data").textContent);
  const { lanes, rows, arrows } = run;
  const SVG = $("picture").namespaceURI;
  const ROW = 25, GAP = 25, STRAY = 22, TOP = 14, GUTTER = 84;

  // ---- Small tools ----

  function html(tag, cls, text) {
    const element = document.createElement(tag);
    if (cls) element.className = cls;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function svg(tag, cls, attributes, text) {
    const element = document.createElementNS(SVG, tag);
    if (cls) element.setAttribute("class", cls);
    for (const name in attributes) element.setAttribute(name, attributes[name]);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  /** What has no shape of its own, or changes that of its neighbours, is shown by its number. */
  function shown(text) {
    const number = (c) => "\\u{" + c.codePointAt(0).toString(16) + "}";
    return text.replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, number);
  }

  /** Long runs of one character say nothing but how long they are. */
  const squeeze = (text) => shown(text).replace(/(.)\1{15,}/gu, (all, c) => c + c + c + "\u2026(" + all.length + ")");

  function clip(text, max) {
    const line = squeeze(text);
    return line.length > max ? line.slice(0, max - 1) + "\u2026" : line;
  }

  const count = (n, one, many) => (n === 1 ? "1 " + one : n.toLocaleString("en") + " " + many);
  const label = (lane) => shown(lanes[lane].label);
  const who = (row) => (row.lane === null ? "The broker" : label(row.lane));

  // ---- What belongs to what ----

  const into = rows.map(() => []), outOf = rows.map(() => []);
  for (const arrow of arrows) {
    outOf[arrow.from].push(arrow);
    into[arrow.to].push(arrow);
  }
  const witnesses = rows.map((row, index) => (row.witness ? index : -1)).filter((index) => index >= 0);
  const proofs = [...witnesses].sort((a, b) => a - b);
  /** Events of the broker that the proof is about, rows that belong to it, and the sessions in it. */
  const events = new Set(), related = new Set(proofs), involved = new Set();

  function markProof() {
    const broken = new Set(rows.filter((row) => /broke|reset/.test(row.kind)).map((row) => row.lane));
    for (const index of proofs) {
      for (const arrow of [...outOf[index], ...into[index]]) {
        arrow.hot = true;
        events.add(arrow.from === index ? arrow.to : arrow.from);
      }
    }
    for (const event of events) {
      related.add(event);
      for (const arrow of into[event]) arrow.hot = true;
      for (const arrow of outOf[event]) {
        const line = rows[arrow.to].line;
        arrow.hot ||= line !== null && line.startsWith("from ");
      }
      for (const arrow of [...into[event], ...outOf[event]]) related.add(arrow.from).add(arrow.to);
    }
    for (const stray of run.unread) {
      stray.hot = events.has(stray.from) && (stray.line.startsWith("from ") || rows[stray.from].about !== stray.lane);
      stray.hot ||= proofs.some((index) => rows[index].lane === stray.lane) && events.has(stray.from);
      // What a broken connection loses is nobody's fault; and one cross for one reader is enough.
      stray.hot &&= !broken.has(stray.lane);
      stray.again = run.unread.some((other) => other.hot && other !== stray && other.from === stray.from && other.lane === stray.lane);
      if (stray.hot) involved.add(stray.lane);
    }
    for (const stray of run.missing) {
      stray.hot = stray.ghost = true;
      related.add(stray.from);
      involved.add(stray.lane);
    }
    const proven = new Set(proofs.map((index) => rows[index].lane));
    rows.forEach((row, index) => {
      if (row.state && row.state.bereft.some((conn) => proven.has(conn - 1))) related.add(index);
    });
    for (const index of related) {
      const row = rows[index];
      if (row.lane !== null) involved.add(row.lane);
      if (row.about !== null && row.kind !== "disconnected") involved.add(row.about);
    }
  }

  /** Whether a row is shown when only what belongs to the proof is. */
  function belongs(row, index) {
    if (related.has(index)) return true;
    const lane = row.lane === null ? row.about : row.lane;
    if (lane === null) return row.kind === "shutdown";
    if (!involved.has(lane)) return false;
    if (row.kind === "requested") return into[index].some((arrow) => belongs(rows[arrow.from], arrow.from));
    if (row.kind === "wrote" || row.kind === "read") {
      // How it came by its name, and how it ended.
      const login = row.kind === "wrote" && outOf[index].some((arrow) =>
        outOf[arrow.to].some((answer) => /^(welcome |error (name-taken|bad-name))/.test(rows[answer.to].line || "")));
      return login || /^(welcome |bye |error (name-taken|bad-name))/.test(row.kind === "read" ? row.line : "");
    }
    return true;
  }

  // ---- The layout ----

  const usual = proofs.length > 0 && rows.length > 120;
  let focus = usual;
  let list = [], ys = [], xs = [], brokerX = 0, bottom = 0, width = 0, current = -1;
  let parts = [], margin = null;

  /** The times stay in sight when the lanes are wider than the window. */
  function slide() {
    const x = $("pane").scrollLeft;
    margin.setAttribute("transform", `translate(${x} 0)`);
    margin.firstChild.style.visibility = x > 0 ? "visible" : "hidden";
  }

  /** Sessions of one client stand side by side. */
  function columns() {
    const key = (lane) => (lanes[lane].client === null ? lanes.length : lanes[lane].client);
    const order = lanes.map((_, lane) => lane).filter((lane) => !focus || involved.has(lane));
    order.sort((a, b) => key(a) - key(b) || a - b);
    order.splice(Math.ceil(order.length / 2), 0, -1);
    return order;
  }

  function words(row, index, max) {
    if (row.lane !== null || row.kind === "requested") {
      const verb = row.lane === null ? "handles" : row.says;
      const nothing = row.kind === "requested" && row.effects.length === 0 ? " (and does nothing)" : "";
      return [verb + (row.line === null && row.kind === "requested" ? " a refused line" : ""),
        row.line === null ? "" : clip(row.line, max), nothing];
    }
    const orders = row.effects.filter((effect) => effect.brief !== null).map((effect) => effect.brief);
    return [clip(row.says, max + 10), "", orders.length ? ": " + clip(orders.join("; "), Math.max(16, max + 12 - row.says.length)) : ""];
  }

  /** How wide words are: their letters all have one width, and those of some scripts two. */
  const advance = (() => {
    const probe = svg("text", "", {}, "x".repeat(100));
    $("picture").append(probe);
    const one = probe.getComputedTextLength() / 100 || 7.3;
    return (text) => [...text].reduce((sum, c) => sum + (c < "\u1100" || c === "\u2026" ? one : 2 * one), 0);
  })();

  /** Places all columns, so that the words beside every dot find room. */
  function placeColumns(order, texts) {
    const many = order.length - 1;
    const at = new Map(order.map((lane, column) => [lane, column]));
    const middle = at.get(-1);
    const least = many <= 2 ? 150 : many <= 4 ? 110 : many <= 8 ? 92 : 66;
    const room = (pitch) => {
      let left = 50, right = 50;
      list.forEach((index, place) => {
        const column = at.get(rows[index].lane === null ? -1 : rows[index].lane);
        const need = texts[place].width + 20;
        if (texts[place].left) left = Math.max(left, need - column * pitch);
        else right = Math.max(right, need - (many - column) * pitch);
      });
      for (const stray of [...run.unread, ...run.missing]) {
        if (!stray.hot || !at.has(stray.lane)) continue;
        const column = at.get(stray.lane), need = advance("never reaches " + label(stray.lane)) + 34;
        if (column < middle) left = Math.max(left, need - column * pitch);
        else right = Math.max(right, need - (many - column) * pitch);
      }
      return [left, right];
    };
    const free = $("pane").clientWidth - GUTTER - 2;
    let [left, right] = room(least);
    const pitch = Math.min(330, Math.max(least, (free - left - right) / Math.max(1, many)));
    [left, right] = room(pitch);
    const spare = Math.max(0, free - left - right - many * pitch);
    xs = [];
    order.forEach((lane, column) => {
      const x = Math.round(GUTTER + left + spare / 2 + column * pitch);
      if (lane === -1) brokerX = x;
      else xs[lane] = x;
    });
    width = Math.round(GUTTER + left + right + spare + many * pitch);
    return pitch;
  }

  /** Where words stand: away from the broker; those of the broker away from whoever it hears. */
  function onTheLeft(row, at) {
    if (row.lane !== null) return at.get(row.lane) < at.get(-1);
    return row.about !== null && at.has(row.about) && at.get(row.about) > at.get(-1);
  }

  function placeRows(strays, callout) {
    const last = proofs.length ? proofs[proofs.length - 1] : rows.length - 1;
    let y = TOP + ROW / 2;
    ys = [];
    const gaps = [];
    list.forEach((index, place) => {
      const before = place ? list[place - 1] : -1;
      const later = place ? rows[index].ms - rows[before].ms : rows[index].ms;
      const left = index - before - 1;
      if (later > 0 || left > 0) {
        const said = [left ? count(left, "row", "rows") + " left out" : "",
          later ? "\u2026 " + later.toLocaleString("en") + " ms later" : ""];
        gaps.push([y, said.filter((text) => text).join("   ")]);
        y += GAP;
      }
      ys[index] = y;
      y += ROW + STRAY * strays.filter((stray) => stray.hot && stray.from === index).length;
      if (index === last && run.violation) {
        callout.y = y;
        y += callout.height + 16;
      }
    });
    bottom = y + 4;
    return gaps;
  }

  /** The height at which a row is or, if it is left out, would be. */
  function yOf(index) {
    if (ys[index] !== undefined) return ys[index];
    const behind = list.find((other) => other > index);
    return behind === undefined ? bottom : ys[behind] - ROW / 2;
  }

  // ---- The picture ----

  function draw() {
    list = rows.map((_, index) => index).filter((index) => !focus || belongs(rows[index], index));
    const order = columns();
    const at = new Map(order.map((lane, column) => [lane, column]));
    // As many words as fit into the window; but a few at any rate.
    let texts = [], pitch = 0;
    for (let max = 40; max >= 20; max -= 4) {
      texts = list.map((index) => textOf(index, at, max));
      pitch = placeColumns(order, texts);
      if (width <= $("pane").clientWidth) break;
    }
    const strays = [...run.unread, ...run.missing].filter((stray) => !stray.again && at.has(stray.lane) && list.includes(stray.from));
    const callout = measureCallout();
    const gaps = placeRows(strays, callout);
    placeCallout(callout);
    drawHeads(order, pitch);
    const picture = $("picture");
    picture.replaceChildren();
    picture.setAttribute("width", width);
    picture.setAttribute("height", bottom);
    $("sheet").style.width = width + "px";
    parts = rows.map(() => []);
    margin = svg("g");
    margin.append(svg("rect", "margin", { x: 0, y: 0, width: GUTTER - 8, height: bottom }));
    drawRowsBehind(picture);
    drawLanes(picture, order);
    drawGaps(picture, gaps);
    drawArrows(picture);
    strays.forEach((stray, place) => drawStray(picture, stray, strays.slice(0, place)));
    list.forEach((index, place) => drawRow(picture, index, texts[place]));
    picture.append(margin);
    slide();
    $("focus").checked = focus;
    $("shown").textContent = focus ? list.length + " of " + rows.length + " rows" : "";
  }

  /** Whether the broker never hears of what a client did: 0 if it does, 1 if so, 2 if it surely should have. */
  function unheard(index) {
    const { kind, lane, witness } = rows[index];
    if (lane === null || !/wrote|ended|reset/.test(kind) || outOf[index].length > 0) return 0;
    const open = !rows.some((row) => row.lane === lane && /closed|broke|reset/.test(row.kind));
    return run.violation && (witness || (open && involved.has(lane))) ? 2 : 1;
  }

  /** The words beside a dot. */
  function textOf(index, at, max) {
    const row = rows[index], [verb, line, rest] = words(row, index, max);
    const bereft = row.state ? row.state.bereft.map((conn) => label(conn - 1)) : [];
    const loss = bereft.length ? "; " + bereft.join(", ") + " loses its name!" : unheard(index) === 2 ? ", and nobody hears it" : "";
    return { verb, line, rest, loss, width: advance(verb + " " + line + rest + loss), left: onTheLeft(row, at) };
  }

  /** The callout's text, so that the rows can leave room for it. */
  function measureCallout() {
    const box = $("callout");
    box.replaceChildren();
    if (!run.violation) return { height: 0 };
    box.append(html("b", "", run.rule + " broken: "), squeeze(run.violation));
    box.style.width = Math.min(520, width - GUTTER - 10) + "px";
    return { height: box.offsetHeight };
  }

  function placeCallout(callout) {
    const box = $("callout"), index = proofs[proofs.length - 1];
    if (!run.violation) return;
    const x = index === undefined ? brokerX : xOf(rows[index]);
    const left = Math.max(GUTTER, Math.min(x - 90, width - box.offsetWidth - 8));
    box.style.left = left + "px";
    box.style.top = callout.y + $("heads").offsetHeight + 2 + "px";
    box.style.setProperty("--tip", x - left - 2 + "px");
    box.classList.toggle("free", index === undefined);
  }

  const xOf = (row) => (row.lane === null ? brokerX : xs[row.lane]);

  function drawHeads(order, pitch) {
    $("heads").replaceChildren(...order.map((lane) => {
      const head = html("div", "head");
      head.style.left = (lane === -1 ? brokerX : xs[lane]) + "px";
      head.style.width = Math.min(200, Math.max(62, pitch - 4)) + "px";
      if (lane === -1) {
        head.append(html("b", "", "broker"), html("small", "", pitch < 130 ? "in order" : "one event at a time"));
        return head;
      }
      const { name, client } = lanes[lane];
      if (proofs.some((index) => rows[index].lane === lane) || run.missing.some((stray) => stray.lane === lane)) {
        head.classList.add("hot");
      }
      head.append(html("b", name === null ? "nobody" : "", name === null ? "no name" : shown(name)));
      head.append(html("small", "", "session " + lane));
      if (client !== null) head.append(html("small", "", (pitch < 130 ? "" : ", ") + "client " + (client + 1)));
      if (pitch < 130) head.classList.add("narrow");
      head.title = label(lane) + ": session " + lane + ", connection #" + (lane + 1);
      return head;
    }));
  }

  function drawRowsBehind(picture) {
    for (const index of list) {
      const rect = svg("rect", "hit", { x: 0, y: ys[index] - ROW / 2, width, height: ROW });
      rect.addEventListener("click", () => go(index));
      picture.append(rect);
      parts[index].push(rect);
    }
  }

  function drawLanes(picture, order) {
    picture.append(svg("line", "lane broker", { x1: brokerX, x2: brokerX, y1: 0, y2: bottom }));
    for (const lane of order.filter((lane) => lane >= 0)) {
      const mine = (row) => row.lane === lane || (row.about === lane && row.kind === "connected");
      const first = rows.findIndex(mine), last = rows.findLastIndex(mine);
      if (first < 0) continue;
      const x = xs[lane], y1 = yOf(first), y2 = yOf(last);
      const end = /closed|broke|reset/.test(rows[last].kind) ? y2 : bottom;
      picture.append(svg("line", "lane", { x1: x, x2: x, y1, y2: end }));
      picture.append(svg("line", "lane", { x1: x - 6, x2: x + 6, y1, y2: y1 }));
      drawHoldings(picture, lane, x);
    }
  }

  /** From when to when a session holds its name, as the broker sees it. */
  function drawHoldings(picture, lane, x) {
    let since = -1, found = true;
    rows.forEach((row, index) => {
      const view = row.state && row.state.changed.find((view) => view.conn === lane + 1);
      if (!view) return;
      if (since >= 0) picture.append(svg("line", found ? "holds" : "holds not", { x1: x, x2: x, y1: yOf(since), y2: yOf(index) }));
      since = view.name === null ? -1 : index;
      found = view.found;
    });
    if (since >= 0) picture.append(svg("line", found ? "holds" : "holds not", { x1: x, x2: x, y1: yOf(since), y2: bottom }));
  }

  function drawGaps(picture, gaps) {
    for (const [y, text] of gaps) {
      const start = GUTTER + advance(text) + 16;
      picture.append(svg("line", "gapline", { x1: start, x2: width - 8, y1: y, y2: y }));
      margin.append(svg("text", "gap", { x: GUTTER, y: y + 4 }, text));
    }
  }

  /** A line with an open head, which stops short of the dots at its ends. */
  function arrowPath(x1, y1, x2, y2) {
    const length = Math.hypot(x2 - x1, y2 - y1) || 1;
    const ux = (x2 - x1) / length, uy = (y2 - y1) / length;
    const ex = x2 - ux * 8, ey = y2 - uy * 8;
    const wing = (side) => `${ex - ux * 8 - side * uy * 4.5} ${ey - uy * 8 + side * ux * 4.5}`;
    return `M${x1 + ux * 6} ${y1 + uy * 6} L${ex} ${ey} M${wing(1)} L${ex} ${ey} L${wing(-1)}`;
  }

  function drawArrows(picture) {
    const cold = arrows.filter((arrow) => !arrow.hot), hot = arrows.filter((arrow) => arrow.hot);
    for (const arrow of [...cold, ...hot]) {
      if (ys[arrow.from] === undefined || ys[arrow.to] === undefined) continue;
      const [from, to] = [rows[arrow.from], rows[arrow.to]];
      const cls = ["arrow", from.lane === null ? "tell" : "ask"];
      if (arrow.hot) cls.push("hot");
      if (arrow.changed) cls.push("changed");
      const d = arrowPath(xOf(from), ys[arrow.from], xOf(to), ys[arrow.to]);
      const path = svg("path", cls.join(" "), { d });
      picture.append(path);
      parts[arrow.from].push(path);
      parts[arrow.to].push(path);
    }
    for (const index of list) {
      const row = rows[index];
      drawUnheard(picture, index);
      for (const lane of row.state ? row.state.bereft.map((conn) => conn - 1) : []) {
        if (xs[lane] === undefined) continue;
        const x = xs[lane], y = ys[index];
        picture.append(svg("path", "bereft", { d: `M${brokerX} ${y} L${x} ${y + ROW / 2} m-5 -5 l10 10 m0 -10 l-10 10` }));
      }
      // An event that no write of the client explains: only what it is about.
      if (row.lane === null && row.about !== null && xs[row.about] !== undefined && into[index].length === 0) {
        picture.append(svg("line", "tie", { x1: brokerX, x2: xs[row.about], y1: ys[index], y2: ys[index] }));
      }
    }
  }

  /** Something that a client did and the broker never heard of. */
  function drawUnheard(picture, index) {
    const how = unheard(index);
    if (how === 0) return;
    const x = xs[rows[index].lane], y = ys[index], cls = "stub" + (how === 2 ? " hot" : "");
    const end = x + Math.sign(brokerX - x) * (how === 2 ? Math.abs(brokerX - x) * 0.6 : 30), size = how === 2 ? 6 : 3.5;
    picture.append(svg("path", cls, { d: `M${x} ${y} H${end} m${-size} ${-size} l${2 * size} ${2 * size} m0 ${-2 * size} l${-2 * size} ${2 * size}` }));
  }

  /** Something that was to be sent, or should have been, and never arrived. */
  function drawStray(picture, stray, before) {
    const earlier = before.filter((other) => other.hot && other.from === stray.from).length;
    const from = rows[stray.from], x1 = xOf(from), y1 = ys[stray.from], x = xs[stray.lane];
    const side = x < brokerX ? -1 : 1;
    const y2 = stray.hot ? y1 + ROW * 0.9 + earlier * STRAY : y1 + ROW * 0.45;
    const x2 = stray.hot ? x - side * 9 : brokerX + side * Math.min(46, Math.abs(x - brokerX) * 0.5);
    const cls = "stub" + (stray.hot ? " hot" : "");
    const cross = stray.hot ? 6 : 3.5;
    const line = svg("path", cls + (stray.ghost ? " ghost" : ""), { d: `M${x1} ${y1} L${x2} ${y2}` });
    const mark = svg("path", cls, { d: `M${x2 - cross} ${y2 - cross} l${2 * cross} ${2 * cross} m0 ${-2 * cross} l${-2 * cross} ${2 * cross}` });
    picture.append(line, mark);
    parts[stray.from].push(line, mark);
    if (stray.hot) {
      const anchor = side < 0 ? "end" : "start";
      picture.append(svg("text", "hot", { x: x + side * 10, y: y2 + 5, "text-anchor": anchor },
        "never reaches " + label(stray.lane)));
    }
  }

  function drawRow(picture, index, text) {
    const row = rows[index], x = xOf(row), y = ys[index];
    const quiet = proofs.length > 0 && !related.has(index) ? " quiet" : "";
    const place = list.indexOf(index);
    if (place === 0 || rows[list[place - 1]].ms !== row.ms) {
      margin.append(svg("text", "clock", { x: GUTTER - 14, y: y + 4, "text-anchor": "end" },
        row.ms.toLocaleString("en") + " ms"));
    }
    if (row.witness) {
      picture.append(svg("circle", "ring", { cx: x, cy: y, r: 12.5 }), svg("circle", "witness", { cx: x, cy: y, r: 9.5 }));
      picture.append(svg("text", "number", { x, y: y + 4 }, String(row.witness)));
    } else {
      const orphan = row.kind === "read" && into[index].length === 0 ? " orphan" : "";
      const cls = "dot " + (row.lane === null ? "broker " : "") + row.kind + orphan + quiet;
      picture.append(svg("circle", cls, { cx: x, cy: y, r: row.kind === "ticked" ? 4 : 5.5 }));
    }
    const offset = row.witness ? 18 : 13;
    const said = svg("text", quiet.trim(), {
      x: text.left ? x - offset : x + offset, y: y + 4, "text-anchor": text.left ? "end" : "start" });
    said.append(svg("tspan", "verb", {}, text.verb + (text.line ? " " : "")));
    if (text.line) said.append(svg("tspan", row.witness ? "hot" : "", {}, text.line));
    if (text.rest) said.append(svg("tspan", "verb", {}, text.rest));
    if (text.loss) said.append(svg("tspan", "hot", {}, text.loss));
    picture.append(said);
  }

  // ---- One row after another ----

  function go(index, quietly) {
    if (index >= 0 && focus && !list.includes(index)) {
      focus = false;
      draw();
    }
    if (current >= 0) mark(current, false);
    current = index;
    if (index >= 0) {
      mark(index, true);
      reveal(index);
    }
    tell(index);
    if (!quietly) remember();
  }

  function mark(index, on) {
    for (const part of parts[index]) part.classList.toggle(part.tagName === "rect" ? "current" : "now", on);
  }

  function reveal(index) {
    const pane = $("pane"), head = $("heads").offsetHeight;
    const y = ys[index] + head, x = xOf(rows[index]);
    if (y < pane.scrollTop + head + ROW || y > pane.scrollTop + pane.clientHeight - 2 * ROW) {
      pane.scrollTop = y - pane.clientHeight / 2;
    }
    if (x < pane.scrollLeft + GUTTER || x > pane.scrollLeft + pane.clientWidth - 160) {
      pane.scrollLeft = x - pane.clientWidth / 2;
    }
  }

  function remember() {
    try {
      const which = focus === usual ? "" : "&rows=" + (focus ? "proof" : "all");
      history.replaceState(null, "", current < 0 ? "#" : "#step=" + (current + 1) + which);
    } catch { /* some browsers let no local page change its address */ }
  }

  function move(by) {
    const place = list.indexOf(current);
    if (place < 0) return go(by > 0 ? list[0] : list[list.length - 1]);
    go(list[Math.max(0, Math.min(list.length - 1, place + by))]);
  }

  function nextProof() {
    if (proofs.length) go(proofs.find((index) => index > current) ?? proofs[0]);
  }

  function toggleFocus() {
    if (!proofs.length) return;
    focus = !focus;
    redraw();
    remember();
  }

  function redraw() {
    draw();
    const here = current;
    current = -1;
    go(here >= 0 && list.includes(here) ? here : here >= 0 ? list.find((index) => index > here) ?? -1 : -1, true);
  }

  // ---- The panel ----

  function said(prefix, words, line) {
    const p = html("p");
    if (prefix) p.append(html("b", "", prefix + " "));
    p.append(shown(words));
    if (line !== null && line !== undefined) {
      const long = line.length > 300;
      p.append(" ", html("span", "line", long ? clip(line, 200) + " (" + line.length + " characters)" : shown(line)));
    }
    return p;
  }

  function link(index) {
    const button = html("button", "", "row " + (index + 1));
    button.addEventListener("click", () => go(index));
    return button;
  }

  function tell(index) {
    const event = $("event"), end = index < 0 ? rows.length - 1 : index;
    event.replaceChildren();
    $("where").textContent = index < 0 ? "The end of the run" :
      `Row ${index + 1} of ${rows.length}, at ${rows[index].ms.toLocaleString("en")} ms`;
    if (index >= 0) tellRow(event, rows[index], index);
    tellState(end);
    $("back").disabled = $("first").disabled = index === list[0];
    $("on").disabled = $("last").disabled = index === list[list.length - 1];
  }

  function tellRow(event, row, index) {
    if (row.witness) event.append(html("p", "", `Part ${row.witness} of the proof.`));
    event.append(said(who(row) + (row.lane === null ? " is told:" : ""), row.says, row.line));
    if (row.lane === null) {
      event.append(html("p", "", row.effects.length ? "and orders:" : "and orders nothing."));
      const orders = html("ul");
      for (const effect of row.effects) {
        const item = html("li");
        item.append(...said("", effect.says, effect.line).childNodes);
        orders.append(item);
      }
      if (row.effects.length) event.append(orders);
    }
    for (const conn of row.state ? row.state.bereft : []) {
      event.append(html("p", "alarm", `${label(conn - 1)} loses its name, and nobody tells it.`));
    }
    for (const stray of [...run.missing, ...run.unread]) {
      if (stray.from === index) event.append(said("", label(stray.lane) + " never reads", stray.line));
    }
    const near = [["Comes from ", into[index].map((arrow) => arrow.from)], ["Leads to ", outOf[index].map((arrow) => arrow.to)]];
    for (const [text, others] of near) {
      if (!others.length) continue;
      const p = html("p", "", text);
      others.forEach((other) => p.append(link(other), " "));
      event.append(p);
    }
  }

  /** Everything up to a row: what the broker says of its connections, and what each client waits for. */
  function upTo(end) {
    const views = new Map(), waits = lanes.map(() => []), seen = new Set(), over = new Set();
    let state = null;
    for (let index = 0; index <= end; index++) {
      const row = rows[index], lane = row.lane;
      if (row.about !== null) seen.add(row.about);
      if (row.state) {
        state = row.state;
        for (const view of state.changed) views.set(view.conn, view);
      }
      if (lane === null) continue;
      seen.add(lane);
      if (row.kind === "wrote") waits[lane].push(row.line);
      if (row.kind === "ended") waits[lane].push("the end");
      if (row.kind === "read" && !/^(from|bye) /.test(row.line)) {
        if (!row.line.startsWith("peers ") || waits[lane][0] === "/who") waits[lane].shift();
      }
      if (/reset|closed|broke/.test(row.kind)) {
        waits[lane] = [];
        over.add(lane);
      }
    }
    return { views, waits, seen, over, state };
  }

  function tellState(end) {
    const { views, waits, seen, over, state } = upTo(end);
    $("now").textContent = state === null ? "knows nobody yet" :
      `knows ${count(state.connections, "connection", "connections")} and ${count(state.peers, "name", "names")} at ${state.now.toLocaleString("en")} ms`;
    const changed = new Set(rows[end] && rows[end].state ? rows[end].state.changed.map((view) => view.conn - 1) : []);
    const body = $("state").tBodies[0];
    body.replaceChildren();
    const crowd = seen.size > 8;
    for (const lane of [...seen].sort((a, b) => a - b)) {
      const view = views.get(lane + 1), gone = view && view.phase === "gone";
      if (crowd && gone && over.has(lane) && !changed.has(lane)) continue;
      const tr = html("tr", [gone ? "gone" : "", changed.has(lane) ? "fresh" : "",
        rows.some((row) => row.witness && row.lane === lane) ? "hot" : ""].join(" "));
      tr.append(html("td", "", label(lane)), phase(view), waiting(waits[lane], lane, end, over.has(lane)));
      body.append(tr);
    }
    $("note").textContent = rows.slice(0, end + 1).some((row) => row.state && row.state.differs) ?
      "Told the same once more, the broker of this program orders something else than was recorded." : "";
  }

  function phase(view) {
    const td = html("td", "", view ? view.phase : "not accepted");
    if (view && view.name !== null) {
      td.append(" as ", shown(view.name));
      if (!view.found) td.append(html("div", "wrong", "but nobody finds it by that name"));
    }
    return td;
  }

  function waiting(lines, lane, end, over) {
    const td = html("td", "", over ? "over" : lines.length ? "" : "nothing");
    for (const line of lines.slice(0, 3)) {
      const div = html("div");
      div.append(html("span", "line", clip(line, 28)));
      td.append(div);
    }
    if (lines.length > 3) td.append(html("div", "", `and ${lines.length - 3} more`));
    const coming = over ? 0 :
      arrows.filter((arrow) => arrow.from <= end && arrow.to > end && rows[arrow.from].lane === null && rows[arrow.to].lane === lane).length +
      run.unread.filter((stray) => stray.from <= end && stray.lane === lane).length;
    if (coming) td.append(html("div", "", `${count(coming, "line", "lines")} on the way to it`));
    return td;
  }

  // ---- What stands around it ----

  function tellRun() {
    const broken = run.rule !== "";
    $("title").textContent = broken ? `${run.rule} broken: ${run.title}` : "No rule was broken";
    document.title = broken ? `${run.rule} broken: ${run.title} (${run.run})` : `A run of the simulator (${run.run})`;
    document.querySelector("header").classList.toggle("fine", !broken);
    $("promise").textContent = run.promise && "The promise: " + run.promise;
    $("violation").textContent = run.violation && "What happened: " + squeeze(run.violation) + ".";
    const command = "seriatim-sim replay " + shown(run.run);
    $("facts").append(run.size.join(", ") + ". See it again: ", html("code", "", command));
    $("command").textContent = command;
    $("proof").hidden = !proofs.length;
    $("focus").parentElement.hidden = !proofs.length;
    run.clients.forEach((script, number) => {
      const div = html("div"), ol = html("ol");
      script.forEach((op) => ol.append(html("li", "", shown(op))));
      div.append(html("h3", "", "Client " + (number + 1)), ol);
      $("clients").append(div);
    });
    run.conditions.forEach((text) => $("conditions").append(html("li", "", text)));
    $("test").textContent = run.test;
  }

  function save() {
    const a = html("a");
    a.href = URL.createObjectURL(new Blob([run.recorded + "\n"], { type: "application/json" }));
    a.download = "failing.json";
    a.click();
    setTimeout(() => URL.revokeObjectURL(a.href), 1000);
  }

  function copy() {
    const range = document.createRange();
    range.selectNodeContents($("test"));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    // Without the clipboard, it is at least selected.
    if (navigator.clipboard) navigator.clipboard.writeText(run.test).catch(() => {});
  }

  const KEYS = {
    ArrowDown: () => move(1), j: () => move(1), ArrowUp: () => move(-1), k: () => move(-1),
    Home: () => go(list[0]), End: () => go(list[list.length - 1]),
    n: nextProof, w: nextProof, f: toggleFocus, Escape: () => go(-1),
  };

  function listen() {
    document.addEventListener("keydown", (event) => {
      const inText = event.target.closest && event.target.closest("pre");
      if (event.ctrlKey || event.metaKey || event.altKey || inText || !Object.hasOwn(KEYS, event.key)) return;
      event.preventDefault();
      KEYS[event.key]();
      document.querySelector("main").scrollIntoView({ block: "nearest" });
    });
    const press = { first: KEYS.Home, back: KEYS.k, on: KEYS.j, last: KEYS.End, proof: nextProof, save, copy };
    for (const id in press) $(id).addEventListener("click", press[id]);
    $("focus").addEventListener("change", toggleFocus);
    addEventListener("hashchange", fromAddress);
    $("pane").addEventListener("scroll", slide);
    let later = 0;
    addEventListener("resize", () => {
      clearTimeout(later);
      later = setTimeout(redraw, 100);
    });
    addEventListener("beforeprint", () => { $("sheet").style.zoom = Math.min(1, 700 / width); });
    addEventListener("afterprint", () => { $("sheet").style.zoom = ""; });
  }

  /**
   * `#step=12` is row 12; without it, the last thing that proves the violation. `&rows=all` shows all rows, `&rows=proof`
   * only those that belong to the proof.
   */
  function fromAddress() {
    const which = /[#&]rows=(all|proof)/.exec(location.hash);
    const wanted = which ? which[1] === "proof" && proofs.length > 0 : focus;
    if (wanted !== focus) {
      focus = wanted;
      draw();
    }
    const step = /[#&]step=(\d+)/.exec(location.hash);
    const index = step ? Math.min(rows.length, Math.max(1, Number(step[1]))) - 1 : proofs[proofs.length - 1] ?? (run.violation ? rows.length - 1 : 0);
    go(rows.length ? index : -1, true);
  }

  markProof();
  tellRun();
  draw();
  draw(); // the callout's height is known only now
  listen();
  fromAddress();
})();
