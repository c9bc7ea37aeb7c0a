// The panel beside the picture: what one row says in full, and the broker behind it.

/** Tells of a row or, with -1, of the end of the run. */
function tell(index) {
  $("event").replaceChildren();
  $("where").textContent = index < 0 ? "The end of the run" :
    `Row ${index + 1} of ${rows.length}, at ${number(rows[index].ms)} ms`;
  if (index >= 0) $("event").append(...tellRow(rows[index], index));
  tellState(index < 0 ? rows.length - 1 : index);
}

function tellRow(row, index) {
  const told = [];
  if (row.witness) told.push(html("p", "", `Part ${row.witness} of the proof.`));
  told.push(said(who(row) + (row.state ? " is told:" : ""), row));
  if (row.state) told.push(...orders(row.effects));
  for (const lane of bereft(row)) told.push(html("p", "alarm", `${label(lane)} loses its name, and nobody tells it.`));
  for (const { from, lane, line } of [...run.missing, ...run.unread]) {
    if (from === index) told.push(said("", { says: label(lane) + " never reads", line }));
  }
  told.push(...links("Comes from ", into[index].map(({ from }) => from)));
  told.push(...links("Leads to ", outOf[index].map(({ to }) => to)));
  return told;
}

function said(prefix, { says, line }, tag = "p") {
  const element = html(tag);
  if (prefix) element.append(html("b", "", prefix + " "));
  element.append(shown(says));
  if (line !== null) {
    const text = line.length > 300 ? `${clip(line, 200)} (${line.length} characters)` : shown(line);
    element.append(" ", html("span", "line", text));
  }
  return element;
}

function orders(effects) {
  if (!effects.length) return [html("p", "", "and orders nothing.")];
  const list = html("ul");
  list.append(...effects.map((effect) => said("", effect, "li")));
  return [html("p", "", "and orders:"), list];
}

/** Buttons that lead to other rows. */
function links(text, others) {
  if (!others.length) return [];
  const p = html("p", "", text);
  for (const other of others) {
    const button = html("button", "", "row " + (other + 1));
    button.dataset.row = other;
    p.append(button, " ");
  }
  return [p];
}

/** Everything up to a row: what the broker says of its connections, and what each client waits for. */
function upTo(end) {
  const views = new Map(), waits = lanes.map(() => []), seen = new Set(), gone = new Set();
  let state = null;
  for (const { lane, about, kind, line, state: after } of rows.slice(0, end + 1)) {
    if (about !== null) seen.add(about);
    if (after) {
      state = after;
      for (const view of after.changed) views.set(laneOf(view.conn), view);
    }
    if (lane === BROKER) continue;
    seen.add(lane);
    if (kind === "wrote") waits[lane].push(line);
    if (kind === "ended") waits[lane].push("the end");
    if (kind === "read" && answers(line, waits[lane][0])) waits[lane].shift();
    if (ENDS.includes(kind)) {
      waits[lane] = [];
      gone.add(lane);
    }
  }
  return { views, waits, seen, gone, state };
}

/** Whether a line is the answer to what its reader wrote. `peers` comes in several lines, or in answer to nothing. */
function answers(line, wrote) {
  return !/^(from|bye) /.test(line) && (!line.startsWith("peers ") || wrote === "/who");
}

function tellState(end) {
  const { views, waits, seen, gone, state } = upTo(end);
  $("now").textContent = state === null ? "knows nobody yet" :
    `knows ${count(state.connections, "connection", "connections")} and ${count(state.peers, "name", "names")}` +
    ` at ${number(state.now)} ms`;
  const changed = new Set(rows[end]?.state?.changed.map((view) => laneOf(view.conn)));
  // In a crowd, whoever is gone on both sides is only in the way.
  const inTheWay = (lane) => seen.size > 8 && views.get(lane)?.phase === "gone" && gone.has(lane) && !changed.has(lane);
  const told = [...seen].sort((a, b) => a - b).filter((lane) => !inTheWay(lane));
  $("state").tBodies[0].replaceChildren(...told.map((lane) => {
    const tr = html("tr"), view = views.get(lane);
    tr.classList.toggle("gone", view?.phase === "gone");
    tr.classList.toggle("fresh", changed.has(lane));
    tr.classList.toggle("hot", proven.has(lane));
    tr.append(html("td", "", label(lane)), phase(view));
    tr.append(waiting(waits[lane], gone.has(lane) ? null : comingTo(lane, end)));
    return tr;
  }));
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

/** What a client waits for, and how much is coming; null if its session is over, though it may go on writing. */
function waiting(lines, coming) {
  const td = html("td", "", coming === null ? "over" : lines.length ? "" : "nothing");
  for (const line of lines.slice(0, 3)) {
    const div = html("div");
    div.append(html("span", "line", clip(line, 28)));
    td.append(div);
  }
  if (lines.length > 3) td.append(html("div", "", `and ${lines.length - 3} more`));
  if (coming) td.append(html("div", "", `${count(coming, "line", "lines")} on the way to it`));
  return td;
}

/** How much has been sent to a session up to a row, and was not read. */
function comingTo(lane, end) {
  const later = ({ from, to }) => from <= end && to > end && rows[from].lane === BROKER && rows[to].lane === lane;
  return arrows.filter(later).length + run.unread.filter((stray) => stray.from <= end && stray.lane === lane).length;
}
