// From one row to another, with keys, buttons and addresses.

/** Whether only what belongs to the proof is shown unless somebody says otherwise, and whether it is now. */
const usual = proofs.length > 0 && rows.length > 120;
let focus = usual;
/** The current row; -1 if there is none. */
let current = -1;

const first = () => plan.list[0];
const last = () => plan.list.at(-1);

function show() {
  const width = $("pane").clientWidth;
  draw(layOut(focus));
  // The scroll bar that this may have brought takes some of its room.
  if ($("pane").clientWidth !== width) draw(layOut(focus));
  $("focus").checked = focus;
  $("shown").textContent = focus ? `${plan.list.length} of ${rows.length} rows` : "";
}

function go(index) {
  visit(index);
  remember();
}

function visit(index) {
  if (index >= 0 && focus && !plan.list.includes(index)) {
    focus = false;
    show();
  }
  light(current, false);
  light(index, true);
  current = index;
  if (index >= 0) reveal(index);
  tell(index);
  $("back").disabled = $("first").disabled = index === first();
  $("on").disabled = $("last").disabled = index === last();
}

/** Lights up a row, and the arrows at it. */
function light(index, on) {
  for (const part of $("picture").querySelectorAll(`[data-row~="${index}"]`)) {
    part.classList.toggle(part.matches(".hit") ? "current" : "now", on);
  }
}

function reveal(index) {
  const pane = $("pane"), head = $("heads").offsetHeight;
  const y = plan.ys[index] + head, x = xOf(rows[index]);
  if (y < pane.scrollTop + head + ROW || y > pane.scrollTop + pane.clientHeight - 2 * ROW) {
    pane.scrollTop = y - pane.clientHeight / 2;
  }
  if (x < pane.scrollLeft + GUTTER || x > pane.scrollLeft + pane.clientWidth - 160) {
    pane.scrollLeft = x - pane.clientWidth / 2;
  }
}

function move(by) {
  const place = plan.list.indexOf(current);
  if (place < 0) return go(by > 0 ? first() : last());
  go(plan.list[Math.max(0, Math.min(plan.list.length - 1, place + by))]);
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

/** Draws all again, and stays where it was, or at the next row that is still there. */
function redraw() {
  show();
  visit(current < 0 ? -1 : plan.list.find((index) => index >= current) ?? -1);
}

function remember() {
  const which = focus === usual ? "" : "&rows=" + (focus ? "proof" : "all");
  try {
    history.replaceState(null, "", current < 0 ? "#" : "#step=" + (current + 1) + which);
  } catch { /* some browsers let no local page change its address */ }
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
    show();
  }
  const step = /[#&]step=(\d+)/.exec(location.hash);
  if (step) visit(Math.min(rows.length, Math.max(1, Number(step[1]))) - 1);
  else visit(proofs.at(-1) ?? (run.violation ? rows.length - 1 : Math.min(0, rows.length - 1)));
}

const KEYS = {
  ArrowDown: () => move(1), j: () => move(1), ArrowUp: () => move(-1), k: () => move(-1),
  Home: () => go(first()), End: () => go(last()),
  n: nextProof, w: nextProof, f: toggleFocus, Escape: () => go(-1),
};
const BUTTONS = { first: KEYS.Home, back: KEYS.k, on: KEYS.j, last: KEYS.End, proof: nextProof };

function listen() {
  document.addEventListener("keydown", (event) => {
    const inText = event.target.closest && event.target.closest("pre");
    if (event.ctrlKey || event.metaKey || event.altKey || inText || !Object.hasOwn(KEYS, event.key)) return;
    event.preventDefault();
    KEYS[event.key]();
    document.querySelector("main").scrollIntoView({ block: "nearest" });
  });
  // Rows of the picture, and links to them in the panel.
  document.querySelector("main").addEventListener("click", (event) => {
    const part = event.target.closest("[data-row]");
    if (part) go(Number(part.dataset.row));
  });
  for (const id in BUTTONS) $(id).addEventListener("click", BUTTONS[id]);
  $("focus").addEventListener("change", toggleFocus);
  $("proof").hidden = $("focus").parentElement.hidden = !proofs.length;
  addEventListener("hashchange", fromAddress);
  $("pane").addEventListener("scroll", slide);
  let later = 0;
  addEventListener("resize", () => {
    clearTimeout(later);
    later = setTimeout(redraw, 100);
  });
  addEventListener("beforeprint", () => { $("sheet").style.zoom = Math.min(1, 700 / plan.width); });
  addEventListener("afterprint", () => { $("sheet").style.zoom = ""; });
}

tellRun();
listen();
show();
fromAddress();
