// SPDX-License-Identifier: Apache-2.0
#include "monitoring/report_style.h"

namespace kiban::monitoring {

const std::string_view kReportStyle = R"css(
:root { color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #16202c; --soft: #5d6b7a; --hair: #e4e8ed; --edge: #c9d1da; --alarm: #c62828;
  --c0: #1f6feb; --c1: #d9730d; --c2: #0f8a6c; --c3: #b8327a; --c4: #7a4fd0; --c5: #8a6d00; --c6: #0b8bb3; --c7: #5f6b76; }
@media (prefers-color-scheme: dark) { :root {
  --page: #0e1319; --card: #161d26; --ink: #e4eaf1; --soft: #93a1b0; --hair: #242e3a; --edge: #3a4756; --alarm: #ff7b72;
  --c0: #58a6ff; --c1: #f0a04b; --c2: #3fc79a; --c3: #f27ab8; --c4: #b392f0; --c5: #d9b83c; --c6: #4cc4e8; --c7: #a3afbb; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
.sheet { max-width: 1120px; margin: 0 auto; padding: 28px 20px 48px; }
h1 { font-size: 24px; font-weight: 650; margin: 0; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 14px; font-weight: 600; margin: 0; }
.under { color: var(--soft); margin: 2px 0 20px; }
.card { background: var(--card); border: 1px solid var(--hair); border-radius: 10px; padding: 14px 16px; margin: 0 0 16px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 16px; margin-bottom: 16px; }
.plots .card { margin: 0; min-width: 0; }
.plots .wide { grid-column: 1 / -1; }
.head { display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 14px; margin-bottom: 6px; }
.unit, .key { color: var(--soft); font-size: 13px; }
.keys { display: flex; flex-wrap: wrap; gap: 2px 14px; margin-left: auto; }
.key i { display: inline-block; width: 16px; height: 0; border-top: 2px solid var(--run); vertical-align: middle; margin-right: 6px; }
.key i.curve { border-top-width: 6px; opacity: 0.35; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 500; font-size: 13px; }
th, td { text-align: right; padding: 5px 0 5px 18px; border-bottom: 1px solid var(--hair); white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td:first-child::before { content: ""; display: inline-block; width: 9px; height: 9px; border-radius: 3px; background: var(--run); margin-right: 9px; }
td.value { font-size: 19px; font-weight: 600; }
td.value:first-child { font-size: 15px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 24px; margin: 10px 0 2px; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
ol { margin: 10px 0 2px; padding-left: 0; list-style: none; font: 13px/1.6 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
summary { cursor: pointer; font-weight: 600; }
.switch { position: absolute; opacity: 0; }
.switch-label { float: right; margin-top: 4px; padding: 4px 12px; border: 1px solid var(--edge); border-radius: 99px; color: var(--soft); cursor: pointer; font-size: 13px; user-select: none; }
.switch:checked ~ .switch-label { background: var(--c0); border-color: var(--c0); color: var(--card); }
.switch:focus-visible ~ .switch-label { outline: 2px solid var(--c0); outline-offset: 2px; }
.log-steps, .switch:checked ~ main .linear-steps { display: none; }
.switch:checked ~ main .log-steps { display: block; }
.plot { position: relative; }
svg { display: block; width: 100%; height: auto; }
.grid { stroke: var(--hair); }
.axis, .mark { stroke: var(--edge); }
.rule { stroke: var(--soft); stroke-dasharray: 2 4; opacity: 0.7; }
.tick { fill: var(--soft); font-size: 11.5px; font-variant-numeric: tabular-nums; }
.empty { fill: var(--soft); font-size: 13px; }
.band { fill: var(--run); fill-opacity: 0.2; stroke: var(--run); stroke-opacity: 0.35; stroke-width: 0.8; stroke-linejoin: round; }
.line { fill: none; stroke: var(--run); stroke-linejoin: round; }
.curve .line { stroke-width: 1.4; }
.beside .curve .line { opacity: 0.55; }
.marked .line { stroke-width: 2.2; }
.dot { fill: var(--run); stroke: var(--card); stroke-width: 1.2; }
.alarm { fill: var(--alarm); }
.event { fill: var(--ink); opacity: 0.75; }
.cursor { stroke: var(--soft); visibility: hidden; }
.tip { position: absolute; top: 14px; pointer-events: none; visibility: hidden; background: var(--card); border: 1px solid var(--edge);
  border-radius: 7px; padding: 6px 10px; font-size: 12.5px; line-height: 1.45; white-space: nowrap; box-shadow: 0 2px 10px #0003; font-variant-numeric: tabular-nums; }
.tip b { font-weight: 600; }
.tip i { display: inline-block; width: 8px; height: 8px; border-radius: 2px; background: var(--run); margin-right: 6px; }
.run-0 { --run: var(--c0); } .run-1 { --run: var(--c1); } .run-2 { --run: var(--c2); } .run-3 { --run: var(--c3); }
.run-4 { --run: var(--c4); } .run-5 { --run: var(--c5); } .run-6 { --run: var(--c6); } .run-7 { --run: var(--c7); }
)css";

const std::string_view kReportScript = R"js(
const shown = value => Math.abs(value) < 1e5 ? value.toPrecision(5) : value.toLocaleString('en', { maximumFractionDigits: 0 });
for (const plot of document.querySelectorAll('.plot')) {
  const svg = plot.querySelector('svg'), cursor = svg.querySelector('.cursor');
  if (!cursor) continue;
  const series = [...svg.querySelectorAll('.series')].map(group => ({
    name: group.dataset.name, color: [...group.classList].find(name => name.startsWith('run-')),
    points: group.dataset.points.trim().split(' ').filter(Boolean).map(text => text.split(',').map(Number)) }));
  const tip = plot.appendChild(document.createElement('div'));
  tip.className = 'tip';
  const hide = () => { tip.style.visibility = cursor.style.visibility = 'hidden'; };
  svg.addEventListener('pointerleave', hide);
  svg.addEventListener('pointermove', event => {
    const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
    const at = (event.clientX - box.left) * scale;
    if (at < svg.dataset.left || at > svg.dataset.right) return hide();
    const near = series.filter(one => one.points.length).map(one => ({ ...one,
      point: one.points.reduce((best, point) => Math.abs(point[2] - at) < Math.abs(best[2] - at) ? point : best) }));
    if (!near.length) return hide();
    const lead = near.reduce((best, one) => Math.abs(one.point[2] - at) < Math.abs(best.point[2] - at) ? one : best).point;
    cursor.setAttribute('x1', lead[2]);
    cursor.setAttribute('x2', lead[2]);
    tip.replaceChildren();
    const line = (text, color) => {
      const row = tip.appendChild(document.createElement('div'));
      if (color) row.appendChild(document.createElement('i')).parentElement.className = color;
      row.append(text);
    };
    line('step ' + lead[0].toLocaleString('en'));
    for (const one of near) {
      const there = Math.abs(one.point[2] - lead[2]) < 12;
      if (there) line(one.name + '  ' + shown(one.point[1]) + (one.point[0] === lead[0] ? '' : '  at ' + one.point[0]), one.color);
    }
    tip.style.left = lead[2] / scale + (lead[2] > svg.viewBox.baseVal.width / 2 ? -14 - tip.offsetWidth : 14) + 'px';
    tip.style.visibility = cursor.style.visibility = 'visible';
  });
}
)js";

}  // namespace kiban::monitoring
