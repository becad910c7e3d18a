# SPDX-License-Identifier: Apache-2.0
"""What the mouse and the keys do on pages with charts over time: zoom, and a box of figures. Pure.

A page's script says `panels` before and `tell(panel, event)` between the two parts.
"""

__all__ = ["TIP", "ZOOM"]

TIP = r"""
const tip = document.getElementById("tip"), whole = document.getElementById("whole");
let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    for (const p of panels) p.draw();
    whole.disabled = from === 0 && to === D.horizon_s;
    document.getElementById("span").textContent = moment(from) + " to " + moment(to);
  });
}
function show(a, b) {
  const least = Math.min(D.horizon_s, Math.max(60, D.step_s / 30));
  const length = Math.min(D.horizon_s, Math.max(least, b - a));
  from = Math.max(0, Math.min(a, D.horizon_s - length));
  to = from + length;
  redraw();
}

function row(name, value) {
  const line = document.createElement("div");
  for (const text of [name, value]) {
    const part = document.createElement("span");
    part.textContent = text;
    line.append(part);
  }
  tip.append(line);
}
function heading(text) {
  const b = document.createElement("b");
  b.textContent = text;
  tip.append(b);
}
function point(t) {
  for (const other of panels) {
    other.hair.hidden = false;
    other.hair.style.left = other.x(t) + "px";
  }
  tip.textContent = "";
}
function place(event) {
  tip.hidden = false;
  const w = tip.offsetWidth, h = tip.offsetHeight;
  const right = event.clientX + 16 + w < window.innerWidth;
  tip.style.left = Math.max(4, right ? event.clientX + 16 : event.clientX - w - 16) + "px";
  tip.style.top = Math.max(4, Math.min(event.clientY + 14, window.innerHeight - h - 6)) + "px";
}
"""

ZOOM = r"""
function quiet() {
  tip.hidden = true;
  for (const p of panels) p.hair.hidden = true;
}
for (const p of panels) {
  let began = null;
  p.canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.pointerType === "touch") return;
    began = event.offsetX;
    p.canvas.setPointerCapture(event.pointerId);
  });
  p.canvas.addEventListener("pointermove", (event) => {
    tell(p, event);
    if (began === null) return;
    const [a, b] = [began, event.offsetX].map((x) => p.x(p.time(x))).sort((u, v) => u - v);
    p.drag.hidden = b - a < 4;
    p.drag.style.left = a + "px";
    p.drag.style.width = b - a + "px";
  });
  p.canvas.addEventListener("pointerup", (event) => {
    if (began === null) return;
    const [a, b] = [began, event.offsetX].sort((u, v) => u - v);
    began = null;
    p.drag.hidden = true;
    if (b - a >= 4) show(p.time(a), p.time(b));
  });
  p.canvas.addEventListener("pointercancel", () => { began = null; p.drag.hidden = true; });
  p.canvas.addEventListener("pointerleave", quiet);
  p.canvas.addEventListener("dblclick", () => show(0, D.horizon_s));
}
whole.addEventListener("click", () => show(0, D.horizon_s));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target && event.target.tagName === "SELECT") return;
  const middle = (from + to) / 2, half = (to - from) / 2;
  const moves = {
    "+": () => show(middle - half / 2, middle + half / 2),
    "=": () => show(middle - half / 2, middle + half / 2),
    "-": () => show(middle - half * 2, middle + half * 2),
    "ArrowLeft": () => show(from - half / 2, to - half / 2),
    "ArrowRight": () => show(from + half / 2, to + half / 2),
    "0": () => show(0, D.horizon_s),
  };
  if (moves[event.key]) { moves[event.key](); event.preventDefault(); }
});
window.addEventListener("resize", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readInk();
  redraw();
});
readInk();
redraw();
"""
