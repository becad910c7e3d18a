# SPDX-License-Identifier: Apache-2.0
"""For the scripts of pages: units, times, and one chart over time on a canvas. Pure."""

__all__ = ["CANVAS"]

CANVAS = r"""
"use strict";
const D = JSON.parse(document.getElementById("data").textContent);
const N = D.intensity.length, LEFT = 62, RIGHT = 10, TOP = 8, FOOT = 20;
const zeros = new Array(N).fill(0);
const renewable = D.renewable_w || zeros;
let from = 0, to = D.horizon_s, ink = {};

const css = (name) => getComputedStyle(document.documentElement)
  .getPropertyValue("--" + name).trim();
function readInk() {
  for (const name of ["paper", "ink", "soft", "rule", "tint", "intensity", "green", "bad", "late",
    "base", "services", "jobs", "mu", "lam", "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"]) {
    ink[name] = css(name);
  }
}
const most = (...lists) => lists.reduce((a, l) => l.reduce((b, v) => Math.max(b, v), a), 0);

function number(v) {
  if (v === 0 || Math.abs(v) >= 100) return Math.round(v).toLocaleString("en");
  if (Math.abs(v) >= 10) return v.toFixed(1);
  return Math.abs(v) >= 0.1 ? v.toFixed(2) : v.toPrecision(2);
}
function scaled(v, units) {
  for (const [size, name] of units) if (Math.abs(v) >= size) return number(v / size) + " " + name;
  return number(v) + " " + units[units.length - 1][1];
}
const count = (v) => number(v).replace(/\.0+$/, "");
const watts = (v) => scaled(v, [[1e9, "GW"], [1e6, "MW"], [1e3, "kW"], [1, "W"]]);
const energy = (j) => scaled(j / 3.6e6, [[1e6, "GWh"], [1e3, "MWh"], [1, "kWh"]]);
const two = (v) => String(v).padStart(2, "0");
const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
function clock(t) {
  const m = Math.round((t + (D.dated ? D.start_s : 0)) / 60);
  return two(Math.floor(m % 1440 / 60)) + ":" + two(m % 60);
}
function day(t) {
  const m = Math.round((t + (D.dated ? D.start_s : 0)) / 60);
  if (!D.dated) return Math.floor(m / 1440) + " d";
  const d = new Date(m * 60000);
  return d.getUTCDate() + " " + MONTHS[d.getUTCMonth()];
}
const moment = (t) => day(t) + " " + clock(t);
function span(s) {
  const m = Math.round(s / 60);
  if (m < 90) return m + " min";
  const h = Math.floor(m / 60);
  return h < 48 ? h + " h " + two(m % 60) + " min" : Math.floor(h / 24) + " d " + h % 24 + " h";
}

const STEPS = [60, 300, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 345600, 604800,
  1209600, 2592000, 7776000, 31536000];
function timeTicks(width) {
  const want = (to - from) / Math.max(2, width / 85);
  const step = STEPS.find((s) => s >= want) || STEPS[STEPS.length - 1];
  const zero = D.dated ? D.start_s : 0, found = [];
  for (let t = Math.ceil((from + zero) / step) * step - zero; t <= to; t += step) {
    const midnight = Math.round(t + zero) % 86400 === 0;
    found.push([t, midnight ? day(t) : clock(t), midnight]);
  }
  return found;
}
function amountTicks(high) {
  const raw = high / 4.5, size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((k) => k * size).find((s) => s >= raw);
  const found = [];
  for (let v = 0; v <= high * 1.0001; v += step) found.push(v);
  return found;
}

class Panel {
  constructor(id, height, high, label, paint) {
    this.canvas = document.getElementById(id);
    Object.assign(this, {id, height, high: high > 0 ? high * 1.06 : 1, label, paint});
    this.hair = document.createElement("div");
    this.hair.className = "hair";
    this.hair.hidden = true;
    this.drag = document.createElement("div");
    this.drag.className = "drag";
    this.drag.hidden = true;
    this.canvas.parentNode.append(this.hair, this.drag);
  }
  x(t) { return LEFT + (t - from) / (to - from) * (this.width - LEFT - RIGHT); }
  y(v) { return TOP + (1 - v / this.high) * (this.height - TOP - FOOT); }
  time(x) {
    const share = (x - LEFT) / (this.width - LEFT - RIGHT);
    return from + Math.min(1, Math.max(0, share)) * (to - from);
  }
  draw() {
    const ratio = window.devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.canvas.style.height = this.height + "px";
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    const g = this.g = this.canvas.getContext("2d");
    g.scale(ratio, ratio);
    g.font = "12px system-ui, sans-serif";
    this.frame(g);
    g.save();
    g.beginPath();
    g.rect(LEFT, 0, this.width - LEFT - RIGHT, this.height - FOOT + 1);
    g.clip();
    this.paint(this, g);
    g.restore();
    g.strokeStyle = ink.soft;
    g.beginPath();
    g.moveTo(LEFT, this.height - FOOT + .5);
    g.lineTo(this.width - RIGHT, this.height - FOOT + .5);
    g.stroke();
    for (const one of [this.hair, this.drag]) {
      one.style.top = this.canvas.offsetTop + TOP + "px";
      one.style.height = this.height - TOP - FOOT + "px";
      one.style.bottom = "auto";
    }
  }
  frame(g) {
    g.lineWidth = 1;
    g.textBaseline = "middle";
    g.textAlign = "right";
    for (const v of amountTicks(this.high)) {
      const y = Math.round(this.y(v)) + .5;
      g.strokeStyle = ink.rule;
      g.beginPath();
      g.moveTo(LEFT, y);
      g.lineTo(this.width - RIGHT, y);
      g.stroke();
      g.fillStyle = ink.soft;
      // "40.0 kW" says no more than "40 kW" on an axis.
      g.fillText(this.label(v).replace(/\.0+(?=\D|$)/, ""), LEFT - 6, y);
    }
    g.textBaseline = "top";
    g.textAlign = "center";
    for (const [t, text, midnight] of timeTicks(this.width - LEFT - RIGHT)) {
      const x = Math.round(this.x(t)) + .5;
      g.strokeStyle = ink.rule;
      g.beginPath();
      g.moveTo(x, TOP);
      g.lineTo(x, this.height - FOOT + 4);
      g.stroke();
      g.fillStyle = midnight ? ink.ink : ink.soft;
      const half = g.measureText(text).width / 2;
      g.fillText(text, Math.min(x, this.width - half - 1), this.height - FOOT + 6);
    }
  }
  first() { return Math.max(0, Math.floor(from / D.step_s)); }
  last() { return Math.min(N - 1, Math.ceil(to / D.step_s)); }
  trace(g, values) {
    for (let i = this.first(); i <= this.last(); i++) {
      g.lineTo(this.x(i * D.step_s), this.y(values[i]));
      g.lineTo(this.x(Math.min((i + 1) * D.step_s, D.horizon_s)), this.y(values[i]));
    }
  }
  area(low, high, colour, alpha = 1) {
    const g = this.g;
    g.beginPath();
    this.trace(g, high);
    for (let i = this.last(); i >= this.first(); i--) {
      g.lineTo(this.x(Math.min((i + 1) * D.step_s, D.horizon_s)), this.y(low[i]));
      g.lineTo(this.x(i * D.step_s), this.y(low[i]));
    }
    g.closePath();
    g.globalAlpha = alpha;
    g.fillStyle = colour;
    g.fill();
    g.globalAlpha = 1;
  }
  line(values, colour, width = 2) {
    const g = this.g;
    g.beginPath();
    this.trace(g, values);
    g.strokeStyle = colour;
    g.lineWidth = width;
    g.lineJoin = "round";
    g.stroke();
  }
  limit(value, colour) {
    const g = this.g, y = this.y(value);
    g.setLineDash([7, 5]);
    g.strokeStyle = colour;
    g.lineWidth = 1.8;
    g.beginPath();
    g.moveTo(LEFT, y);
    g.lineTo(this.width - RIGHT, y);
    g.stroke();
    g.setLineDash([]);
  }
}
"""
