# SPDX-License-Identifier: Apache-2.0
"""The script of a plan's page: draws the charts, zooms, and says what is under the mouse. Pure.

Plain JavaScript on canvas, no library: the page must open offline. Text goes in by textContent
and fillText only.
"""

from slurm_green.cli.page_background import BACKGROUND
from slurm_green.cli.page_canvas import CANVAS
from slurm_green.cli.page_hands import TIP, ZOOM

__all__ = ["SCRIPT"]

_CHARTS = r"""
const services = D.services_w || zeros, basePlus = D.base_w.map((w, i) => w + services[i]);
const total = basePlus.map((w, i) => w + D.jobs_w[i]), muNu = D.mu.map((m, i) => m + D.nu[i]);
const panels = [];
const add = (id, ...rest) => {
  if (document.getElementById(id)) panels.push(new Panel(id, ...rest));
};
addIntensity();

const B = D.bars, isLate = new Set(B ? B.late : []), slow = new Set(B ? B.slow : []);
function boxAt(p, box) {
  const [k, lane, count] = box, high = p.y(lane) - p.y(lane + count);
  const gap = high >= 5 ? 1 : 0;
  const x = p.x(B.start_s[k]), w = Math.max(p.x(B.end_s[k]) - x - gap, .8);
  return [x, p.y(lane + count), w, Math.max(high - gap, .6)];
}
function fitted(g, text, width) {
  if (g.measureText(text).width <= width) return text;
  const keep = Math.floor(text.length * width / g.measureText(text).width) - 1;
  return keep > 1 ? text.slice(0, keep) + "…" : "";
}
add("jobs", B ? Math.min(640, Math.max(180, D.gpus * 13)) + TOP + FOOT : 0, D.gpus / 1.06, number,
  (p, g) => {
    background(p, g, total);
    g.textBaseline = "middle";
    g.textAlign = "left";
    for (const box of B.boxes) {
      const k = box[0], job = B.job[k];
      if (B.end_s[k] < from || B.start_s[k] > to) continue;
      const [x, y, w, h] = boxAt(p, box);
      g.fillStyle = ink.paper;
      g.fillRect(x, y, w, h);
      g.globalAlpha = slow.has(k) ? .55 : 1;
      g.fillStyle = ink["c" + B.colour[k]];
      g.fillRect(x, y, w, h);
      g.globalAlpha = 1;
      if (isLate.has(job)) {
        g.strokeStyle = ink.late;
        g.lineWidth = 2;
        g.strokeRect(x + 1, y + 1, Math.max(w - 2, .5), Math.max(h - 2, .5));
      }
      const left = Math.max(x, LEFT), room = x + w - left - 8;
      if (h >= 12 && room > 34) {
        g.fillStyle = slow.has(k) ? ink.ink : ink.paper;
        g.font = "11px system-ui, sans-serif";
        g.fillText(fitted(g, B.ids[job], room), left + 4, y + h / 2);
      }
    }
  });

add("use", 130, Math.max(D.gpus, most(D.gpus_used)), number, (p) => {
  p.area(zeros, D.gpus_used, ink.jobs, .55);
  p.line(D.gpus_used, ink.jobs, 1.5);
  p.limit(D.gpus, ink.ink);
});

const stacked = [];
D.by_group.forEach((values, c) => {
  stacked.push(values.map((v, i) => v + (c ? stacked[c - 1][i] : 0)));
});
add("stack", 320, Math.max(D.gpus, most(D.gpus_used)), number, (p, g) => {
  background(p, g, total);
  stacked.forEach((values, c) => p.area(c ? stacked[c - 1] : zeros, values, ink["c" + c]));
  p.limit(D.gpus, ink.ink);
});

add("power", 210, Math.max(most(total, renewable), D.cap_w || 0), watts, (p) => {
  p.area(zeros, D.base_w, ink.base, .8);
  p.area(D.base_w, basePlus, ink.services, .8);
  p.area(basePlus, total, ink.jobs, .6);
  if (D.renewable_w) p.line(renewable, ink.green, 2.2);
  if (D.cap_w !== null) p.limit(D.cap_w, ink.bad);
});
add("mu", 150, most(D.intensity, muNu), number, (p) => {
  p.area(zeros, D.mu, ink.mu, .45);
  p.line(D.mu, ink.mu, 1.5);
  p.line(D.intensity, ink.intensity, 1);
  if (most(D.nu) > 0) p.line(muNu, ink.bad, 1.5);
});
add("lam", 110, most(D.lam), number, (p) => {
  p.area(zeros, D.lam, ink.lam, .45);
  p.line(D.lam, ink.lam, 1.5);
});
"""

_TELL = r"""
function jobUnder(p, x, y) {
  if (!B || p.id !== "jobs" || y > p.height - FOOT) return -1;
  for (let n = B.boxes.length - 1; n >= 0; n--) {
    const k = B.boxes[n][0];
    if (B.end_s[k] < from || B.start_s[k] > to) continue;
    const [bx, by, bw, bh] = boxAt(p, B.boxes[n]);
    if (x >= bx - 1 && x <= bx + bw + 1 && y >= by && y <= by + bh + .5) return k;
  }
  return -1;
}
function tell(p, event) {
  const x = event.offsetX, y = event.offsetY, t = p.time(x);
  const i = Math.min(N - 1, Math.floor(t / D.step_s));
  point(t);
  const k = jobUnder(p, x, y);
  if (k >= 0) {
    const job = B.job[k], [workers, gpus, mhz, power] = B.shapes[B.shape[k]];
    heading(B.ids[job]);
    row("class", B.classes[B.class[job]]);
    row("runs", moment(B.start_s[k]) + " to " + moment(B.end_s[k]));
    row("for", span(B.end_s[k] - B.start_s[k]));
    row("shape", workers + (workers === 1 ? " worker, " : " workers, ") + gpus
      + (gpus === 1 ? " GPU, " : " GPUs, ") + mhz + " MHz");
    row("draws", watts(power) + ", " + energy(power * (B.end_s[k] - B.start_s[k])));
    row("deadline", moment(B.deadline_s[job]) + (isLate.has(job) ? ", late" : ""));
    tip.append(document.createElement("hr"));
  }
  heading(moment(i * D.step_s) + " to " + moment(Math.min((i + 1) * D.step_s, D.horizon_s)));
  row("carbon intensity", number(D.intensity[i]) + " g/kWh");
  row("GPUs in use", count(D.gpus_used[i]) + " of " + count(D.gpus));
  if (p.id === "stack") D.group_names.forEach((c, n) => row(c, count(D.by_group[n][i])));
  row("power", watts(total[i]));
  if (D.services_w) row("of it services", watts(services[i]));
  if (D.renewable_w) row("own supply", watts(renewable[i]));
  row("mu", number(D.mu[i]) + " g/kWh");
  if (D.cap_w !== null) row("nu", number(D.nu[i]) + " g/kWh");
  row("lam", number(D.lam[i]) + " g/GPU-hour");
  place(event);
}
"""

SCRIPT = CANVAS + BACKGROUND + _CHARTS + TIP + _TELL + ZOOM
