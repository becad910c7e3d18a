# SPDX-License-Identifier: Apache-2.0
"""Opens a page of ours without a browser: node runs its script on elements that only count."""

import html.parser
import json
import re
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["data_of", "opened", "parsed"]

# Enough of a browser for every line of drawing and of the mouse; what it draws is nobody's concern.
_BROWSER = r"""
const text = require("fs").readFileSync(process.argv[2], "utf8");
const scripts = [...text.matchAll(/<script[^>]*>([\s\S]*?)<\/script>/g)].map((m) => m[1]);
const calls = {}, said = [], known = {}, hears = {}, frames = [];
const count = (name) => (...values) => {
  calls[name] = (calls[name] || 0) + 1;
  for (const one of values) if (typeof one === "number" && !Number.isFinite(one)) throw Error(name);
};
const measure = (words) => ({width: 7 * words.length});
const context = new Proxy({}, {
  get: (_, name) => name === "measureText" ? measure : count(name),
  set: () => true,
});
class Element {
  constructor(id) {
    Object.assign(this, {id, hears: {}, style: {}, clientWidth: 900, offsetWidth: 100});
    Object.assign(this, {offsetHeight: 80, offsetTop: 20, parentNode: this});
    this.selectedIndex = 0;
    this.textContent = id === "data" ? scripts[0] : "";
  }
  getContext() { return context; }
  append(...children) { said.push(...children); }
  setPointerCapture() {}
  addEventListener(name, hear) { this.hears[name] = hear; }
}
for (const [, id] of text.matchAll(/id="(\w+)"/g)) known[id] = new Element(id);
global.document = {
  documentElement: {},
  getElementById: (id) => known[id] || null,
  getElementsByClassName: () => [],
  createElement: (name) => new Element(name),
  addEventListener: (name, hear) => { hears[name] = hear; },
};
global.window = {devicePixelRatio: 2, innerWidth: 1000, innerHeight: 800, addEventListener() {}};
global.getComputedStyle = () => ({getPropertyValue: () => "#123"});
global.matchMedia = () => ({addEventListener() {}});
global.requestAnimationFrame = (draw) => frames.push(draw);
const settle = () => { while (frames.length) frames.shift()(); };
const span = () => known.span.textContent;
new Function(scripts[1])();
settle();
const bars = calls.fillRect || 0, whole = span(), chart = known.jobs || known.stack;
const at = (x, y) => ({offsetX: x, offsetY: y, clientX: x, clientY: y, button: 0, pointerId: 1});
for (let y = 5; y < 300; y += 9) {
  for (let x = 60; x < 900; x += 20) chart.hears.pointermove(at(x, y));
}
chart.hears.pointerdown(at(200, 50));
chart.hears.pointermove(at(400, 50));
chart.hears.pointerup(at(400, 50));
settle();
const zoomed = span();
for (const key of ["+", "-", "ArrowLeft", "ArrowRight", "0", "x"]) {
  hears.keydown({key, preventDefault() {}});
  settle();
}
chart.hears.pointerleave();
// A page with a choice: each of it in turn.
const choices = (known.policy && JSON.parse(scripts[0]).policies) || [];
choices.forEach((_, i) => {
  known.policy.selectedIndex = i;
  known.policy.hears.change();
  settle();
  chart.hears.pointermove(at(500, 60));
});
const words = [...new Set(said.map((one) => one.textContent))];
console.log(JSON.stringify({bars, whole, zoomed, again: span(), words}));
"""


def opened(page: Path) -> dict[str, Any]:
    """What was drawn and said while the mouse and the keys did all they can."""
    done = subprocess.run(
        ["node", "-", page], input=_BROWSER, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class _Elements(html.parser.HTMLParser):
    """What elements there are, and whether each that was opened is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.texts = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in {"meta", "br", "hr", "img", "input"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def parsed(text):
    """The page's elements."""
    found = _Elements()
    found.feed(text)
    found.close()
    assert found.open == []
    return found


def data_of(text):
    """What the script is given."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(found)
