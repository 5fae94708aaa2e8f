"use strict";
// Move the threshold: counts, the table and the photos on both sides follow, without a server.
(() => {
  const section = document.getElementById("mover-section");
  const data = JSON.parse(section.dataset.slider);
  const input = document.getElementById("threshold");
  const value = document.getElementById("threshold-value");
  const warning = document.getElementById("warning");
  const command = document.getElementById("command");
  const passed = document.getElementById("passed");
  const stopped = document.getElementById("stopped");
  const figures = [...document.querySelectorAll("#thumbs .thumb")];  // ascending scores
  const above = (scores, threshold) => scores.filter((score) => score > threshold).length;
  const set = (id, text) => { document.getElementById(id).textContent = text; };

  const show = () => {
    const place = Number(input.value);
    const threshold = data.thresholds[place];
    const isChosen = place === data.chosen;
    const goodStopped = above(data.good, threshold);
    const badStopped = above(data.bad, threshold);
    value.textContent = threshold.toPrecision(6) + (isChosen ? " (chosen)" : "");
    input.setAttribute("aria-valuetext",
      `${threshold.toPrecision(6)}: ${goodStopped} good stopped, ${data.bad.length - badStopped} bad pass`);
    set("good-passed", data.good.length - goodStopped);
    set("good-stopped", goodStopped);
    set("bad-passed", data.bad.length - badStopped);
    set("bad-stopped", badStopped);
    set("calibration-stopped", above(data.calibration, threshold));
    warning.textContent = isChosen
      ? "The guarantee above is of this threshold."
      : "No guarantee: a threshold that was moved by looking at these photos suits them better than others.";
    if (data.costs) {
      const [miss, alarm, share] = data.costs;
      const cost = share * miss * (1 - badStopped / data.bad.length)
        + (1 - share) * alarm * goodStopped / data.good.length;
      set("cost", ` Expected cost of a part: ${Number(cost.toPrecision(4))}.`);
    }
    command.querySelector("code").textContent = `${data.command} --threshold ${isChosen ? data.file : threshold}`;
    for (const figure of figures) {
      const isStopped = Number(figure.dataset.score) > threshold;
      figure.classList.toggle("wrong", isStopped !== (figure.dataset.bad === "1"));
      if (isStopped) stopped.append(figure); else passed.prepend(figure);
    }
  };

  input.max = String(data.thresholds.length - 1);
  input.value = String(data.chosen);
  input.addEventListener("input", show);
  document.getElementById("reset").addEventListener("click", () => {
    input.value = String(data.chosen);
    show();
    input.focus();
  });
  section.querySelector(".mover").hidden = false;
  command.hidden = false;
  show();
})();
