# SPDX-License-Identifier: Apache-2.0
"""How the HTML pages look, in light and in dark; their scripts read colours from here. Pure."""

__all__ = ["STYLE"]

STYLE = """
:root { color-scheme: light dark; --paper:#fff; --panel:#f5f7f6; --ink:#1c2522; --soft:#5d6863;
  --rule:#dde3e0; --tint:#6b5a45; --intensity:#6b5a45; --green:#1b8a4f; --bad:#c22f2f;
  --late:#d11f1f; --base:#a5b0ab; --services:#8a68b5; --jobs:#3b6fb6; --mu:#c98a1b; --lam:#3b6fb6;
  --c0:#3b6fb6; --c1:#d98a1f; --c2:#2b9aa8; --c3:#b0579a; --c4:#7d8f2a; --c5:#a5563c;
  --c6:#6b6bc4; --c7:#7c8681; }
@media (prefers-color-scheme: dark) { :root { --paper:#151a18; --panel:#1d2422; --ink:#e3e9e6;
  --soft:#9aa7a1; --rule:#333d39; --tint:#c9b596; --intensity:#c9b596; --green:#4cc98a;
  --bad:#ff7b72; --late:#ff3524; --base:#6d7a74; --services:#ac8cd8; --jobs:#6f9fe0;
  --mu:#e6b04a; --lam:#6f9fe0;
  --c0:#6f9fe0; --c1:#e6a545; --c2:#55bccb; --c3:#d283bf; --c4:#b0c257; --c5:#cf8468;
  --c6:#9d9df0; --c7:#8c9691; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 84rem; margin: 0 auto; padding: 1.2rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0; }
h2 { font-size: 1.05rem; margin: 0 0 .5rem; }
p { margin: .3rem 0; }
.soft { color: var(--soft); } .good { color: var(--green); } .bad { color: var(--bad); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(28rem, 100%), 1fr));
  gap: 1rem; margin: 1rem 0; }
section { background: var(--panel); border-radius: 8px; padding: .9rem 1rem; overflow-x: auto; }
body > section { margin: 1rem 0; }
section p.soft { font-size: .87rem; margin-top: .7rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .22rem .9rem .22rem 0;
  border-bottom: 1px solid var(--rule); overflow-wrap: break-word; max-width: 24rem; }
tr:last-child > * { border-bottom: 0; }
th { font-weight: 500; color: var(--soft); white-space: nowrap; }
#bar { display: flex; gap: .9rem; align-items: baseline; flex-wrap: wrap; font-size: .87rem;
  position: sticky; top: 0; z-index: 2; background: var(--paper); padding: .4rem 0; }
button { font: inherit; color: var(--ink); background: var(--panel); padding: .15rem .7rem;
  border: 1px solid var(--rule); border-radius: 6px; cursor: pointer; }
button:disabled { opacity: .45; cursor: default; }
#span { font-variant-numeric: tabular-nums; color: var(--ink); }
main { outline-offset: 6px; margin-bottom: 1.2rem; }
figure { margin: .7rem 0 0; position: relative; }
figcaption { display: flex; gap: .2rem 1.2rem; flex-wrap: wrap; align-items: baseline; }
.keys { display: flex; gap: .1rem .9rem; flex-wrap: wrap; font-size: .85rem; color: var(--soft); }
.keys i { display: inline-block; width: 12px; height: 10px; margin-right: .35em; }
i.box { background: var(--k); border-radius: 2px; }
i.line { height: 0; border-top: 2.5px solid var(--k); vertical-align: middle; width: 16px; }
i.dash { height: 0; border-top: 2.5px dashed var(--k); vertical-align: middle; width: 18px; }
i.frame { border: 2px solid var(--k); border-radius: 2px; }
canvas { display: block; width: 100%; touch-action: pan-y; cursor: crosshair; }
.hair, .drag { position: absolute; pointer-events: none; bottom: 0; }
.hair { width: 1px; background: var(--ink); opacity: .5; }
.drag { background: var(--jobs); opacity: .18; }
#tip { position: fixed; z-index: 3; pointer-events: none; background: var(--paper);
  border: 1px solid var(--rule); border-radius: 6px; box-shadow: 0 3px 14px rgb(0 0 0 / .2);
  padding: .45rem .65rem; font-size: .85rem; max-width: 22rem; }
#tip b { display: block; overflow-wrap: anywhere; }
#tip div { display: flex; justify-content: space-between; gap: 1.2rem; }
#tip span:first-child { color: var(--soft); } #tip span { white-space: nowrap; }
#tip hr { border: 0; border-top: 1px solid var(--rule); margin: .35rem 0; }
footer { font-size: .87rem; margin-top: 1rem; }
@media print { #bar, #tip { display: none; } }
"""
