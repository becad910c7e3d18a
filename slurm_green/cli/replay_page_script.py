# SPDX-License-Identifier: Apache-2.0
"""The script of a replay's page: draws the chosen policy, and what is under the mouse. Pure.

Plain JavaScript on canvas, no library. Text goes in by textContent and fillText only.
"""

from slurm_green.cli.page_background import BACKGROUND
from slurm_green.cli.page_canvas import CANVAS
from slurm_green.cli.page_hands import TIP, ZOOM

__all__ = ["SCRIPT"]

_CHARTS = r"""
const P = D.policies, F = P[D.baseline], panels = [];
let S = P[D.subject];
const kilograms = (g) => scaled(g / 1000, [[1000, "t"], [1, "kg"]]);
const colour = (i) => ink["c" + i % 8];
const add = (id, ...rest) => panels.push(new Panel(id, ...rest));
addIntensity();

const lanes = Math.max(1, ...P.map((one) => one.jobs.lanes));
function boxAt(p, J, box) {
  const [k, lane, count] = box, scale = lanes / J.lanes;
  const top = p.y((lane + count) * scale), high = p.y(lane * scale) - top;
  const gap = high >= 5 ? 1 : 0, x = p.x(J.start_s[k]);
  return [x, top, Math.max(p.x(J.end_s[k]) - x - gap, .8), Math.max(high - gap, .6)];
}
const tall = Math.min(420, Math.max(160, lanes * 12)) + TOP + FOOT;
add("jobs", tall, lanes / 1.06, () => "", (p, g) => {
  const J = S.jobs, late = new Set(J.late);
  background(p, g, S.site_w);
  for (const box of J.boxes) {
    const k = box[0];
    if (J.end_s[k] < from || J.start_s[k] > to) continue;
    const [x, y, w, h] = boxAt(p, J, box);
    g.fillStyle = colour(J.class[k]);
    g.fillRect(x, y, w, h);
    if (late.has(k)) {
      g.strokeStyle = ink.late;
      g.lineWidth = 2;
      g.strokeRect(x + 1, y + 1, Math.max(w - 2, .5), Math.max(h - 2, .5));
    }
  }
});
add("use", 120, Math.max(D.gpus, ...P.map((one) => most(one.gpus_used))), number, (p) => {
  p.area(zeros, S.gpus_used, ink.jobs, .5);
  if (S !== F) p.line(F.gpus_used, ink.soft, 1.2);
  p.limit(D.gpus, ink.ink);
});
add("power", 190, most(renewable, ...P.map((one) => one.site_w)), watts, (p) => {
  p.area(zeros, S.site_w, ink.jobs, .5);
  p.area(zeros, D.base_w, ink.base, .8);
  if (S !== F) p.line(F.site_w, ink.soft, 1.2);
  if (D.renewable_w) p.line(renewable, ink.green, 2.2);
});
const running = P.map((one) => {
  let sum = 0;
  return one.grams.map((g) => sum += g);
});
const dash = (i) => i >= 8 ? [6, 4] : [];
add("grams", 170, most(...running), kilograms, (p, g) => {
  running.forEach((values, i) => {
    g.setLineDash(dash(i));
    p.line(values, colour(i), P[i] === S ? 3.5 : 1.5);
  });
  g.setLineDash([]);
});

// Waits are no chart over time: share of jobs over hours, a line per policy.
const waits = document.getElementById("waits"), HIGH = 230;
function drawWaits() {
  const ratio = window.devicePixelRatio || 1, width = waits.clientWidth, g = waits.getContext("2d");
  waits.style.height = HIGH + "px";
  waits.width = Math.round(width * ratio);
  waits.height = Math.round(HIGH * ratio);
  g.scale(ratio, ratio);
  g.font = "12px system-ui, sans-serif";
  g.lineWidth = 1;
  const far = Math.max(D.longest_wait_s, 60) / 3600;
  const x = (h) => LEFT + Math.min(h, far) / far * (width - LEFT - RIGHT - 10);
  const y = (share) => TOP + (1 - share) * (HIGH - TOP - FOOT);
  g.textBaseline = "middle";
  g.textAlign = "right";
  for (const share of [0, .25, .5, .75, 1]) {
    g.strokeStyle = ink.rule;
    g.beginPath();
    g.moveTo(LEFT, Math.round(y(share)) + .5);
    g.lineTo(width - RIGHT, Math.round(y(share)) + .5);
    g.stroke();
    g.fillStyle = ink.soft;
    g.fillText(Math.round(100 * share) + " %", LEFT - 6, y(share));
  }
  g.textBaseline = "top";
  g.textAlign = "center";
  for (const h of amountTicks(far)) g.fillText(count(h) + " h", x(h), HIGH - FOOT + 6);
  P.forEach((one, i) => {
    const n = one.waits_s.length;
    if (!n) return;
    g.strokeStyle = colour(i);
    g.lineWidth = one === S ? 3.5 : 1.5;
    g.setLineDash(dash(i));
    g.beginPath();
    one.waits_s.forEach((s, k) => g.lineTo(x(s / 3600), y((k + 1) / n)));
    g.stroke();
  });
  g.setLineDash([]);
}
"""

_TELL = r"""
function tell(p, event) {
  const x = event.offsetX, y = event.offsetY, t = p.time(x);
  const i = Math.min(N - 1, Math.floor(t / D.step_s));
  point(t);
  if (p.id === "jobs" && y <= p.height - FOOT) {
    const J = S.jobs;
    for (let n = J.boxes.length - 1; n >= 0; n--) {
      const k = J.boxes[n][0];
      if (J.end_s[k] < from || J.start_s[k] > to) continue;
      const [bx, by, bw, bh] = boxAt(p, J, J.boxes[n]);
      if (x < bx - 1 || x > bx + bw + 1 || y < by || y > by + bh + .5) continue;
      heading(J.ids[k]);
      row("class", D.classes[J.class[k]]);
      row("runs", moment(J.start_s[k]) + " to " + moment(J.end_s[k]));
      row("first waited", span(Math.max(0, J.wait_s[k])));
      if (J.late.includes(k)) row("deadline", "missed");
      tip.append(document.createElement("hr"));
      break;
    }
  }
  heading(moment(i * D.step_s) + " to " + moment(Math.min((i + 1) * D.step_s, D.horizon_s)));
  row("carbon intensity", number(D.intensity[i]) + " g/kWh");
  if (D.renewable_w) row("own supply", watts(renewable[i]));
  row("GPUs in use", count(S.gpus_used[i]) + " of " + count(D.gpus));
  row("power", watts(S.site_w[i]));
  row("emitted so far", kilograms(running[P.indexOf(S)][i]));
  if (S !== F) row(F.name + ": power", watts(F.site_w[i]));
  if (S !== F) row(F.name + ": so far", kilograms(running[D.baseline][i]));
  place(event);
}
const choice = document.getElementById("policy");
function choose() {
  S = P[choice.selectedIndex];
  P.forEach((_, i) => {
    const table = document.getElementById("against" + i);
    if (table) table.hidden = i !== choice.selectedIndex;
  });
  for (const one of document.getElementsByClassName("chosen")) one.textContent = S.name;
  redraw();
}
choice.addEventListener("change", choose);
"""

_LAST = r"""
panels.push({draw: drawWaits, hair: {style: {}}, x: () => 0});
choose();
"""

SCRIPT = CANVAS + BACKGROUND + _CHARTS + TIP + _TELL + ZOOM + _LAST
