// What stands around the picture: the rule above it, and the scenario and the recorded run below.

function tellRun() {
  const broken = run.rule !== "";
  const title = broken ? `${run.rule} broken: ${run.title}` : "No rule was broken";
  $("title").textContent = title;
  document.title = `${broken ? title : "A run of the simulator"} (${run.command.replace("cargo sim ", "")})`;
  document.querySelector("header").classList.toggle("fine", !broken);
  $("promise").textContent = run.promise && "The promise: " + run.promise;
  $("violation").textContent = run.violation && "What happened: " + violation + ".";
  const command = shown(run.command);
  $("facts").append(run.size.join(", ") + ". See it again: ", html("code", "", command));
  $("command").textContent = command;
  $("clients").append(...run.clients.map((script, client) => {
    const div = html("div"), steps = html("ol");
    steps.append(...script.map((op) => html("li", "", shown(op))));
    div.append(html("h3", "", "Client " + (client + 1)), steps);
    return div;
  }));
  $("conditions").append(...run.conditions.map((text) => html("li", "", text)));
  $("save").hidden = !run.recorded;
  $("astest").hidden = !run.test;
  $("test").hidden = !run.test;
  $("test").textContent = run.test;
  $("save").addEventListener("click", save);
  $("copy").addEventListener("click", copy);
}

function save() {
  const a = html("a");
  a.href = URL.createObjectURL(new Blob([run.recorded + "\n"], { type: "application/json" }));
  a.download = "failing.json";
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 1000);
}

function copy() {
  getSelection().selectAllChildren($("test"));
  // Without the clipboard, it is at least selected.
  navigator.clipboard?.writeText(run.test).catch(() => {});
}
