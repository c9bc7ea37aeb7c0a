// The run, and what of it proves the violation.

const run = JSON.parse($("data").textContent);
const { lanes, rows, arrows } = run;

/** The lane of the broker, beside those of the sessions. */
const BROKER = null;

/** What happened. Long quotations are cut short, lest they be larger than the picture; the rows have more of them. */
const violation = squeeze(run.violation).replace(/"((?:[^"\\]|\\.){40})(?:[^"\\]|\\.){20,}"/gu, "\"$1\u2026\"");

const label = (lane) => shown(lanes[lane].label);
const who = (row) => (row.lane !== BROKER ? label(row.lane) : row.state ? "The broker" : "");
const isMail = (line) => line !== null && line.startsWith("from ");
/** Connections are accepted in the order in which they were made, and counted from 1. */
const laneOf = (conn) => conn - 1;
/** Sessions from which this event took their name, without a word to them. */
const bereft = (row) => (row.state ? row.state.bereft.map(laneOf) : []);

/** For each row, the arrows to it and those from it. */
const into = rows.map(() => []), outOf = rows.map(() => []);
for (const arrow of arrows) {
  outOf[arrow.from].push(arrow);
  into[arrow.to].push(arrow);
}

/** How a client sees a connection end, or ends it. */
const ENDS = ["closed", "broke", "reset"];
const lanesIn = (kinds) => new Set(rows.filter((row) => kinds.includes(row.kind)).map((row) => row.lane));
/** Sessions whose connection broke, and sessions whose client has seen the end. */
const broken = lanesIn(["broke", "reset"]), over = lanesIn(ENDS);

/** Rows that the judge names, in order, and the sessions that they are of. */
const proofs = rows.flatMap((row, index) => (row.witness === null ? [] : [index]));
const proven = new Set(proofs.map((index) => rows[index].lane));
/** Events of the broker that they led to, or that led to them. */
const events = new Set(
  proofs.flatMap((index) => [...into[index].map(({ from }) => from), ...outOf[index].map(({ to }) => to)]));

for (const arrow of arrows) {
  const { from, to } = arrow;
  arrow.hot = proofs.includes(from) || proofs.includes(to) || events.has(to) ||
    (events.has(from) && isMail(rows[to].line));
}
const crossed = new Set();
for (const stray of run.unread) {
  // What a broken connection loses is nobody's fault.
  stray.hot = events.has(stray.from) && !broken.has(stray.lane) &&
    (isMail(stray.line) || rows[stray.from].about !== stray.lane || proven.has(stray.lane));
  // One cross for one reader is enough.
  const pair = stray.from + " " + stray.lane;
  stray.again = crossed.has(pair);
  if (stray.hot) crossed.add(pair);
}
for (const stray of run.missing) stray.hot = stray.ghost = true;

/** All rows that have to do with the proof. */
const related = new Set([...proofs, ...events, ...run.missing.map((stray) => stray.from)]);
for (const arrow of arrows) {
  if (events.has(arrow.from) || events.has(arrow.to)) related.add(arrow.from).add(arrow.to);
}
rows.forEach((row, index) => {
  if (bereft(row).some((lane) => proven.has(lane))) related.add(index);
});

/** All sessions that have. */
const involved = new Set([...run.unread, ...run.missing].filter((stray) => stray.hot).map((stray) => stray.lane));
for (const index of related) {
  const { lane, about, kind } = rows[index];
  if (lane !== BROKER) involved.add(lane);
  if (about !== null && kind !== "disconnected") involved.add(about);
}

/**
 * Whether a row is shown when only what belongs to the proof is: that is also how the sessions in it came by their names,
 * and how they ended.
 */
function belongs(index) {
  if (related.has(index)) return true;
  const row = rows[index], lane = row.lane ?? row.about;
  if (row.kind === "turn") return false;
  if (lane === null) return ["shutdown", "incident"].includes(row.kind);
  if (!involved.has(lane)) return false;
  const answered = /^(welcome |error (name-taken|bad-name))/;
  switch (row.kind) {
    case "wrote":
      return outOf[index].some(({ to }) => outOf[to].some((answer) => answered.test(rows[answer.to].line)));
    case "requested":
      return into[index].some((arrow) => belongs(arrow.from));
    case "read":
      return answered.test(row.line) || row.line.startsWith("bye ");
    default:
      return true;
  }
}

/** Whether the broker never hears of what a client did; and if so, whether it surely should have. */
function unheard(index) {
  const { kind, lane, witness } = rows[index];
  if (!["wrote", "ended", "reset"].includes(kind) || outOf[index].length > 0) return null;
  const should = run.violation && (witness !== null || (involved.has(lane) && !over.has(lane)));
  return should ? "wrong" : "quiet";
}
