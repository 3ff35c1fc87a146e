// Draws the curves of the page from the data in it, at the width that there is: choice of axis, smoothing, zoom, values
// under the pointer. Without it the page shows the same curves, still, over steps.
'use strict';
const runs = JSON.parse(document.getElementById('runs').textContent);
const axes = {
  step: { of: run => run.step, holdout: run => run.holdout.step, label: 'steps' },
  tokens: { of: run => run.tokens, holdout: run => run.holdout.tokens, label: 'tokens' },
  time: { of: run => run.hours, holdout: run => run.holdout.hours, label: 'hours since the first step' },
};
const smoothings = { off: 0, light: 5, strong: 18 };  // standard deviation of the bell, in pixels
const state = { axis: 'step', scale: 'linear', smooth: 'light', range: null };
const space = document.querySelector('svg').namespaceURI;
const edge = { left: 58, right: 14, top: 12, bottom: 28 };

// --- numbers ---
const short = value => {
  const size = Math.abs(value);
  for (const [unit, letter] of [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']])
    if (size >= unit) return +(value / unit).toPrecision(4) + letter;
  return String(+value.toPrecision(4));
};
const labelsOf = ticks => {  // of one form on one axis
  const texts = ticks.map(short);
  return texts.some(text => text.length > 7) ? ticks.map(tick => tick ? (+tick.toPrecision(4)).toExponential() : '0') : texts;
};
const shown = value => Math.abs(value) < 1e5 ? String(+value.toPrecision(5)) : value.toLocaleString('en', { maximumFractionDigits: 0 });
const duration = hours => hours >= 48 ? (hours / 24).toFixed(1) + ' d' : hours >= 1 ? hours.toFixed(1) + ' h'
  : hours * 60 >= 1 ? (hours * 60).toFixed(1) + ' min' : (hours * 3600).toFixed(1) + ' s';

function ticksOf(axis, count) {
  const ticks = [];
  if (axis.log) {
    const decades = Math.log10(axis.high / axis.low);
    const digits = decades < 2.5 ? [1, 2, 5] : [1];
    const stride = Math.max(1, Math.ceil(decades / Math.max(count, 1)));  // a wide range on a small screen
    for (let power = Math.floor(Math.log10(axis.low)); power <= Math.log10(axis.high); ++power)
      for (const digit of digits) {
        const value = digit * 10 ** power;
        if (power % stride === 0 && value >= axis.low && value <= axis.high) ticks.push(value);
      }
    if (ticks.length >= 2) return ticks;
    ticks.length = 0;  // less than an octave: linear steps say more
  }
  const rough = (axis.high - axis.low) / Math.max(count, 1);
  if (!(rough > 0) || !isFinite(rough)) return ticks;
  const power = 10 ** Math.floor(Math.log10(rough)), fraction = rough / power * (1 - 1e-9);
  const step = power * (fraction <= 1 ? 1 : fraction <= 2 ? 2 : fraction <= 5 ? 5 : 10);
  for (let index = Math.ceil(axis.low / step - 1e-9); index * step <= axis.high + step * 1e-9; ++index) ticks.push(index * step);
  return ticks;
}

function axisOf(low, high, log, from, to) {
  const at = log ? Math.log10 : value => value, begin = at(low), span = at(high) - begin || 1;
  return { low, high, log, pixel: value => from + (at(value) - begin) / span * (to - from),
           value: pixel => { const place = begin + (pixel - from) / (to - from) * span; return log ? 10 ** place : place; } };
}

// --- where things are ---
function below(values, value) {  // how many are smaller
  let low = 0, high = values.length;
  while (low < high) { const middle = (low + high) >> 1; if (values[middle] < value) low = middle + 1; else high = middle; }
  return low;
}
function placeOfStep(run, step) {  // on the chosen axis
  const at = axes[state.axis].of(run), index = below(run.step, step);
  if (state.axis === 'step') return step;
  if (index === 0) return at[0];
  if (index >= at.length) return at[at.length - 1];
  const share = (step - run.step[index - 1]) / (run.step[index] - run.step[index - 1]);
  return at[index - 1] + share * (at[index] - at[index - 1]);
}
function phaseAt(run, step) {
  let found = '';
  for (const [from, phase] of run.phases) if (from <= step) found = phase;
  return found;
}

// One point a pixel column: least, largest and mean of what falls into it, so that no spike is lost at any zoom.
function columnsOf(run, series, x, y) {
  const columns = [], at = axes[state.axis].of(run), counts = run.count;
  const mean = series.mean, low = series.low || mean, high = series.high || mean;
  for (let i = 0; i < at.length; ++i) {
    if (mean[i] === null || (x.log && at[i] <= 0) || (y.log && high[i] <= 0)) continue;
    const pixel = x.pixel(at[i]), column = Math.round(pixel), count = counts ? counts[i] : 1;
    let last = columns[columns.length - 1];
    if (!last || last.column !== column) columns.push(last = { column, pixel: 0, mean: 0, count: 0, low: Infinity, high: -Infinity });
    last.count += count;
    last.pixel += (pixel - last.pixel) * count / last.count;
    last.mean += (mean[i] - last.mean) * count / last.count;
    last.low = Math.min(last.low, y.log && low[i] <= 0 ? high[i] : low[i]);
    last.high = Math.max(last.high, high[i]);
  }
  return columns;
}
function smoothed(columns, width, log) {  // a bell over pixels: no lag
  const take = log ? Math.log : value => value, give = log ? Math.exp : value => value;
  let first = 0;
  return columns.map(centre => {
    while (columns[first].pixel < centre.pixel - 3 * width) ++first;
    let sum = 0, weights = 0;
    for (let i = first; i < columns.length && columns[i].pixel <= centre.pixel + 3 * width; ++i) {
      if (log && columns[i].mean <= 0) continue;
      const weight = columns[i].count * Math.exp(-0.5 * ((columns[i].pixel - centre.pixel) / width) ** 2);
      sum += weight * take(columns[i].mean);
      weights += weight;
    }
    return give(sum / weights);
  });
}

// --- drawing ---
const element = (parent, name, attributes, text) => {
  const made = parent.appendChild(document.createElementNS(space, name));
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (text !== undefined) made.textContent = text;
  return made;
};
const pathOf = (points, close) => points.map((point, i) => (i ? 'L' : 'M') + point[0].toFixed(1) + ' ' + point[1].toFixed(1)).join('') + (close ? 'Z' : '');
const inside = (values, low, high) => [Math.max(0, below(values, low) - 1), Math.min(values.length, below(values, high) + 2)];

function rangeOfX() {
  let low = Infinity, high = -Infinity;
  for (const run of runs) for (const value of axes[state.axis].of(run)) {
    if (state.scale === 'log' && value <= 0) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return low <= high ? [low, high > low ? high : low + 1] : null;
}
function rangeOfY(kind, log, [from, to]) {
  let low = Infinity, high = -Infinity;
  const include = value => { if (value !== null && isFinite(value) && !(log && value <= 0)) { low = Math.min(low, value); high = Math.max(high, value); } };
  for (const run of runs) {
    const series = run.series[kind], at = axes[state.axis].of(run), [first, end] = inside(at, from, to);
    if (!at.length || at[at.length - 1] < from || at[0] > to) continue;  // ended before, or begins later
    for (let i = first; i < end; ++i) { include((series.low || series.mean)[i]); include((series.high || series.mean)[i]); }
    if (kind !== 'loss') continue;
    axes[state.axis].holdout(run).forEach((place, i) => { if (place >= from && place <= to) include(run.holdout.value[i]); });
  }
  if (low > high) return null;
  if (log) { const margin = high > low ? (high / low) ** 0.05 : 2; return [low / margin, high * margin]; }
  const span = high > low ? high - low : Math.max(Math.abs(high), 1e-9);
  return [low >= 0 && low < 0.15 * high ? 0 : low - 0.05 * span, high + 0.05 * span];
}

function drawAxes(svg, card, width, height, x, y) {
  const bottom = height - edge.bottom, right = width - edge.right;
  const ticks = ticksOf(y, 5), labels = labelsOf(ticks);
  ticks.forEach((tick, i) => {
    element(svg, 'line', { class: 'grid', x1: edge.left, x2: right, y1: y.pixel(tick), y2: y.pixel(tick) });
    element(svg, 'text', { class: 'tick', x: edge.left - 8, y: y.pixel(tick) + 4, 'text-anchor': 'end' }, labels[i]);
  });
  for (const tick of ticksOf(x, Math.max(2, Math.floor(width / 95)))) {
    const at = x.pixel(tick);
    element(svg, 'line', { class: 'mark', x1: at, x2: at, y1: bottom, y2: bottom + 4 });
    element(svg, 'text', { class: 'tick', x: at, y: bottom + 18, 'text-anchor': at > right - 12 ? 'end' : 'middle' }, short(tick));
  }
  element(svg, 'line', { class: 'axis', x1: edge.left, x2: right, y1: bottom, y2: bottom });
}

function drawSeries(svg, run, kind, x, y) {
  const group = element(svg, 'g', { class: 'series curve run-' + run.color });
  const columns = columnsOf(run, run.series[kind], x, y);
  const width = kind === 'rate' || kind === 'tokens' ? 0 : smoothings[state.smooth];  // those have no noise to take away
  if (!columns.length) return;
  if (columns.some(column => column.low < column.high))
    element(group, 'path', { class: 'band', d: pathOf([...columns.map(c => [c.pixel, y.pixel(c.high)]), ...columns.map(c => [c.pixel, y.pixel(c.low)]).reverse()], true) });
  const positive = y.log ? columns.filter(column => column.mean > 0) : columns;
  element(group, 'path', { class: width ? 'line raw' : 'line', d: pathOf(positive.map(c => [c.pixel, y.pixel(c.mean)])) });
  if (width) {
    const soft = smoothed(positive, width, y.log);
    element(group, 'path', { class: 'smooth', d: pathOf(positive.map((c, i) => [c.pixel, y.pixel(soft[i])])) });
  }
  if (columns.length === 1) element(group, 'circle', { class: 'dot', cx: columns[0].pixel, cy: y.pixel(columns[0].mean), r: 3 });
}
function drawHoldout(svg, run, x, y) {
  const at = axes[state.axis].holdout(run), group = element(svg, 'g', { class: 'series marked run-' + (runs.length === 1 ? 1 : run.color) });
  const points = [];
  run.holdout.value.forEach((value, i) => { if (value > 0 || !y.log) if (at[i] > 0 || !x.log) points.push([x.pixel(at[i]), y.pixel(value)]); });
  if (points.length > 1) element(group, 'path', { class: 'line', d: pathOf(points) });
  const dots = points.filter(point => point[0] >= edge.left - 1);
  if (dots.length <= 200) for (const [cx, cy] of dots) element(group, 'circle', { class: 'dot', cx, cy, r: 3 });
}
// What happened: attempts that took over, checkpoints (feet of the frame), events, and what was not a number.
function drawHappenings(svg, run, kind, x, height) {
  const bottom = height - edge.bottom, group = element(svg, 'g', { class: 'run-' + run.color });
  const visible = step => { const place = placeOfStep(run, step); return place >= x.low && place <= x.high && (!x.log || place > 0) ? x.pixel(place) : null; };
  const each = (list, step, draw) => { let drawn = 0; for (const one of list) { const at = visible(step(one)); if (at !== null && ++drawn <= 400) draw(at, one); } };
  each(run.restarts, step => step, (at, step) => element(element(group, 'line', { class: 'rule', x1: at, x2: at, y1: edge.top, y2: bottom }), 'title', {}, 'restart after step ' + step));
  each(run.checkpoints.filter(step => step <= run.step[run.step.length - 1]), step => step, at => element(group, 'line', { class: 'saved', x1: at, x2: at, y1: bottom - 5, y2: bottom }));
  each(run.events.filter(event => event.plot === kind), event => event.step, (at, event) =>
    element(element(svg, 'path', { class: event.alarm ? 'alarm' : 'event', d: `M${at.toFixed(1)} ${bottom - 14}l4 7h-8z` }), 'title', {}, event.text));
  each(run.bad[kind] || [], step => step, (at, step) =>
    element(element(svg, 'path', { class: 'alarm', d: `M${at.toFixed(1)} ${edge.top + 7}l4 -7h-8z` }), 'title', {}, 'not finite at step ' + step));
}
function drawPhases(svg, x, width, top) {
  runs.forEach((run, lane) => run.phases.forEach(([from, phase], i) => {
    const end = i + 1 < run.phases.length ? run.phases[i + 1][0] : run.step[run.step.length - 1];
    const clip = value => Math.min(Math.max(value, x.low), x.high);
    const left = x.pixel(clip(placeOfStep(run, from))), right = x.pixel(clip(placeOfStep(run, end)));
    if (right > left)
      element(element(svg, 'rect', { class: 'phase phase-' + phase, x: left, y: top + 9 * lane, width: right - left, height: 6 }), 'title', {}, `${run.name}: ${phase} from step ${from}`);
  }));
}

let clips = 0;
function draw(card) {
  const plot = card.querySelector('.plot'), kind = card.dataset.kind, width = Math.max(240, plot.clientWidth);
  const log = card.querySelector('button').getAttribute('aria-pressed') === 'true';
  const lanes = kind === 'loss' ? 9 * runs.length + 6 : 0;
  const height = (card.classList.contains('wide') ? Math.min(380, Math.max(260, width * 0.4)) : 260) + lanes;
  const svg = document.createElementNS(space, 'svg');
  for (const [key, value] of Object.entries({ viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': card.querySelector('h2').textContent }))
    svg.setAttribute(key, value);
  const rangeX = state.range || rangeOfX(), rangeY = rangeX && rangeOfY(kind, log, rangeX);
  plot.className = 'plot drawn';
  plot.replaceChildren(svg);
  if (!rangeX || !rangeY) {
    element(svg, 'text', { class: 'empty', x: width / 2, y: height / 2, 'text-anchor': 'middle' }, 'nothing recorded yet');
    return;
  }
  const x = axisOf(...rangeX, state.scale === 'log', edge.left, width - edge.right);
  const y = axisOf(...rangeY, log, height - lanes - edge.bottom, edge.top);
  drawAxes(svg, card, width, height - lanes, x, y);
  const id = 'clip-' + ++clips;
  element(element(svg, 'clipPath', { id }), 'rect', { x: edge.left, y: edge.top - 4, width: width - edge.left - edge.right, height: height - edge.top - edge.bottom + 8 });
  const frame = element(svg, 'g', { 'clip-path': `url(#${id})` });
  for (const run of runs) drawSeries(frame, run, kind, x, y);
  if (kind === 'loss') for (const run of runs) drawHoldout(frame, run, x, y);
  for (const run of runs) drawHappenings(frame, run, kind, x, height - lanes);
  if (lanes) drawPhases(svg, x, width, height - lanes + 3);
  follow(plot, svg, kind, x, width, height - lanes);
}

// --- the pointer ---
function tell(tip, kind, place) {
  tip.replaceChildren();
  const line = (text, color) => {
    const row = tip.appendChild(document.createElement('div'));
    if (color !== undefined) row.appendChild(document.createElement('i')).parentElement.className = 'run-' + color;
    row.append(text);
  };
  runs.forEach((run, number) => {
    const at = axes[state.axis].of(run), series = run.series[kind];
    if (!at.length || place > at[at.length - 1] * 1.02) return;
    let i = Math.min(below(at, place), at.length - 1);
    if (i > 0 && place - at[i - 1] < at[i] - place) --i;
    if (number === 0 || !tip.childElementCount)
      line(`step ${run.step[i].toLocaleString('en')} · ${short(run.tokens[i])} tokens · ${duration(run.hours[i])}`);
    const band = series.low && series.low[i] < series.high[i] ? `  (${shown(series.low[i])} to ${shown(series.high[i])})` : '';
    if (series.mean[i] !== null) line((runs.length > 1 ? run.name + '  ' : '') + shown(series.mean[i]) + band, run.color);
    if (kind === 'loss' && phaseAt(run, run.step[i])) line('phase ' + phaseAt(run, run.step[i]).replace('_', ' '));
  });
}
function follow(plot, svg, kind, x, width, height) {
  const cursor = element(svg, 'line', { class: 'cursor', x1: 0, x2: 0, y1: edge.top, y2: height - edge.bottom });
  const chosen = element(svg, 'rect', { class: 'chosen', x: 0, y: edge.top, width: 0, height: height - edge.top - edge.bottom });
  const tip = plot.appendChild(document.createElement('div'));
  tip.className = 'tip';
  let begun = null;
  const pixelOf = event => { const box = svg.getBoundingClientRect(); return (event.clientX - box.left) * width / box.width; };
  const clamp = pixel => Math.min(Math.max(pixel, edge.left), width - edge.right);
  const hide = () => { tip.style.visibility = cursor.style.visibility = 'hidden'; };
  svg.addEventListener('pointerleave', hide);
  svg.addEventListener('pointermove', event => {
    const pixel = pixelOf(event);
    if (begun !== null) {
      chosen.setAttribute('x', Math.min(begun, clamp(pixel)));
      chosen.setAttribute('width', Math.abs(clamp(pixel) - begun));
      chosen.style.visibility = 'visible';
    }
    if (pixel < edge.left || pixel > width - edge.right) return hide();
    cursor.setAttribute('x1', pixel);
    cursor.setAttribute('x2', pixel);
    tell(tip, kind, x.value(pixel));
    tip.style.left = (pixel > width / 2 ? Math.max(0, pixel - 14 - tip.offsetWidth) : Math.min(pixel + 14, Math.max(0, width - tip.offsetWidth))) + 'px';
    tip.style.visibility = cursor.style.visibility = 'visible';
  });
  svg.addEventListener('pointerdown', event => { if (event.pointerType === 'mouse') { begun = clamp(pixelOf(event)); svg.setPointerCapture(event.pointerId); } });
  svg.addEventListener('pointerup', event => {
    if (begun === null) return;
    const [from, to] = [begun, clamp(pixelOf(event))].sort((a, b) => a - b);
    begun = null;
    chosen.style.visibility = 'hidden';
    if (to - from >= 6) zoom([x.value(from), x.value(to)]);
  });
  svg.addEventListener('dblclick', () => zoom(null));
}

// --- choices ---
const cards = [...document.querySelectorAll('[data-kind]')];
const drawAll = () => cards.forEach(draw);
function zoom(range) {
  state.range = range;
  document.getElementById('whole').hidden = range === null;
  drawAll();
}
function choose(name, value) {
  if (name === 'theme') {
    if (value === 'auto') delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = value;
    return;
  }
  state[name] = value;
  for (const text of document.querySelectorAll('.axis-label')) text.textContent = axes[state.axis].label;
  if (name === 'smooth') drawAll(); else zoom(null);
}
for (const input of document.querySelectorAll('.bar input')) input.addEventListener('change', () => choose(input.name, input.value));
document.getElementById('whole').addEventListener('click', () => zoom(null));
for (const card of cards) {
  const button = card.querySelector('button');
  button.hidden = false;
  button.addEventListener('click', () => { button.setAttribute('aria-pressed', button.getAttribute('aria-pressed') !== 'true'); draw(card); });
}
document.querySelector('.bar').hidden = false;
let drawnWidth = 0;
new ResizeObserver(() => { if (document.body.clientWidth !== drawnWidth) { drawnWidth = document.body.clientWidth; drawAll(); } }).observe(document.body);
