# SPDX-License-Identifier: Apache-2.0
"""The grid on pages with charts over time: its own chart, and the ground behind the jobs. Pure.

A page's script says `add(id, height, top, format, draw)` and then calls `addIntensity()`.
"""

__all__ = ["BACKGROUND"]

BACKGROUND = r"""
const dirtiest = most(D.intensity), cleanest = D.intensity.reduce((a, v) => Math.min(a, v), 1e99);

function background(p, g, watts) {
  const bottom = p.height - FOOT;
  for (let i = p.first(); i <= p.last(); i++) {
    // Whole pixels: halves would overlap and show as stripes.
    const x = Math.round(p.x(i * D.step_s));
    const w = Math.round(p.x(Math.min((i + 1) * D.step_s, D.horizon_s))) - x;
    g.globalAlpha = .3 * (D.intensity[i] - cleanest) / Math.max(dirtiest - cleanest, 1e-9);
    g.fillStyle = ink.tint;
    g.fillRect(x, TOP, w, bottom - TOP);
    if (renewable[i] > 0) {
      g.globalAlpha = Math.max(.12, Math.min(1, renewable[i] / Math.max(watts[i], 1e-9)));
      g.fillStyle = ink.green;
      g.fillRect(x, 0, w, 6);
    }
  }
  g.globalAlpha = 1;
}

function addIntensity() {
  add("intensity", 110, dirtiest, number, (p) => {
    p.area(zeros, D.intensity, ink.intensity, .2);
    p.line(D.intensity, ink.intensity);
  });
}
"""
