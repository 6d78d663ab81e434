// The report: one HTML file with everything in it, so that it can be mailed, and opened where there is no network.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

import { short, targetText } from './report.mjs';

const require = createRequire(import.meta.url);
const page = readFileSync(join(import.meta.dirname, 'page.html'), 'utf8');

/** @param document what results.schema.json describes */
export function renderReport(document) {
  const { flames = [] } = document;
  const parts = {
    summary: summary(document),
    peers: peerList(document.peers),
    tables: tables(document.results),
    flames: flames.length === 0 ? '' : flameSection,
    library: [chartLibrary(), ...(flames.length === 0 ? [] : flameLibraries())].join('\n'),
    data: asScript(plots(document)),
    flameData: asScript(flames),
  };
  return page.replace(/<!--(\w+)-->|\/\*(\w+)\*\//g, (all, html, script) => parts[html ?? script] ?? all);
}

function asScript(value) {
  return JSON.stringify(value).replaceAll('<', '\\u003c');
}

function chartLibrary() {
  const library = readFileSync(join(dirname(require.resolve('chart.js')), 'chart.umd.min.js'), 'utf8');
  return library.replace(/^\/\/# sourceMappingURL=.*$/m, '');
}

/** d3-flame-graph, after the parts of d3 that it is made of; each of them puts what it has into the one object `d3`. */
function flameLibraries() {
  const flameGraph = require.resolve('d3-flame-graph');
  const near = createRequire(flameGraph);
  const parts = 'array color dispatch ease format hierarchy interpolate scale selection timer transition'.split(' ');
  const paths = parts.map((part) => join(dirname(near.resolve(`d3-${part}`)), '..', 'dist', `d3-${part}.min.js`));
  const { name, version, license, homepage } = JSON.parse(
    readFileSync(join(dirname(flameGraph), '..', 'package.json')),
  );
  return [
    ...paths.map((path) => readFileSync(path, 'utf8')),
    `// ${name} ${version}, ${license}, ${homepage}`, // the others say so themselves
    readFileSync(flameGraph.replace(/\.js$/, '.min.js'), 'utf8'),
  ];
}

const flameSection = `
    <h2>Flame graphs</h2>
    <p>
      Where the processors' time goes, one row for each function on the stack, the caller below. Waiting, for the disk or
      for another thread, is not in them. A click makes a box as wide as the page, one on the lowest box goes back.
      <span class="kernel">kernel</span> <span class="javascript">JavaScript</span> <span class="segwal">segwal</span>
      <span class="rest">Node.js, V8 and the C library</span>
    </p>
    <label>Find, by regular expression: <input type="search" id="find" /></label>
    <div id="flames"></div>`;

function summary({ machine, options }) {
  const rows = { ...machine, repeats: options.repeats, 'seconds of a timed trial': options.seconds };
  return `<dl>${Object.entries(rows)
    .map(([name, value]) => `<dt>${escape(name)}</dt><dd>${escape(value)}</dd>`)
    .join('')}</dl>`;
}

function peerList(peers) {
  if (peers.length === 0) return '<p>Peers were left out of this run.</p>';
  const rows = peers.map(
    ({ name, version, guarantee, missing }) =>
      `<tr><td>${escape(name)}</td><td>${escape(version ?? '')}</td><td>${escape(missing ? `not measured: ${missing}` : guarantee)}</td></tr>`,
  );
  return `<table><tr><th>peer</th><th>version</th><th>what it guarantees, used as it is here</th></tr>${rows.join('')}</table>`;
}

function tables(results) {
  const suites = Map.groupBy ? Map.groupBy(results, ({ suite }) => suite) : groupBySuite(results);
  return [...suites]
    .map(([suite, own]) => `<h3>${escape(suite)}</h3><table>${tableHead}${own.map(rows).join('')}</table>`)
    .join('');
}

const tableHead =
  '<tr><th></th><th>median</th><th>least – greatest</th><th>unit</th><th>target</th><th>thread, ns</th><th>others</th></tr>';

function groupBySuite(results) {
  const suites = new Map();
  for (const result of results) suites.set(result.suite, [...(suites.get(result.suite) ?? []), result]);
  return suites;
}

function rows({ name, unit, contenders, targets }) {
  const own = contenders.map(({ contender, median, min, max, threadNs, others }) => {
    const wanted = targets
      .filter(({ of }) => of === contender)
      .map((target) => `<span class="${target.met ? 'met' : 'missed'}">${escape(targetText(target))}</span>`);
    const cells = [short(median), `${short(min)} – ${short(max)}`, escape(unit), wanted.join('<br>')];
    cells.push(threadNs === undefined ? '' : short(threadNs), `${Math.round(others * 100)} %`);
    return `<tr><td class="contender">${escape(contender)}</td>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`;
  });
  return `<tr><th colspan="7">${escape(name)}</th></tr>${own.join('')}`;
}

/** What the page's script draws: for each chart the lines or bars, each point with the spread of its trials. */
function plots({ charts, results, curves }) {
  return charts.map((chart) => {
    const series = new Map();
    const add = (label, point) => series.set(label, [...(series.get(label) ?? []), point]);
    for (const { plot, contenders } of results) {
      if (plot?.chart !== chart.id) continue;
      for (const { contender, median, min, max } of contenders) add(contender, { x: plot.x, y: median, min, max });
    }
    for (const { contender, chart: id, points } of curves) {
      if (id === chart.id) for (const [x, y] of points) add(contender, { x, y });
    }
    return { ...chart, series: [...series].map(([label, points]) => ({ label, points })) };
  });
}

function escape(text) {
  return String(text).replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
