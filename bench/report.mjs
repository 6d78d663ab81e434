// Medians and the table on the terminal.

export function summarize(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, min: sorted[0], max: sorted.at(-1) };
}

/** How a case stands to its target; undefined when it has none. */
export function judge(target, { segwal, raw }) {
  if (target === undefined) return undefined;
  if (target.ratio !== undefined) return segwal.median / raw.median >= target.ratio;
  return target.atLeast !== undefined ? segwal.median >= target.atLeast : segwal.median <= target.atMost;
}

export function printMachine(machine) {
  for (const [name, value] of Object.entries(machine)) console.log(`${name.padEnd(12)} ${value}`);
}

const widths = [42, 11, 21, 21, 5, 13, 12, 6];

export function printHeader() {
  printRow(['', 'unit', 'segwal', 'raw', 'ratio', 'target', 'thread, ns', 'others']);
}

export function printCase({ name, unit, target, summary, met, threadNs, others }) {
  const { segwal, raw } = summary;
  printRow([
    name,
    unit,
    segwal ? range(segwal) : '',
    raw ? range(raw) : '',
    segwal && raw ? (segwal.median / raw.median).toFixed(2) : '',
    target === undefined ? '' : `${targetText(target)}${met ? '' : ' missed'}`,
    thread(threadNs),
    `${Math.round(others * 100)} %`,
  ]);
}

function thread(ns) {
  return ns.every(Number.isFinite) ? ns.map(short).join(' / ') : '';
}

function targetText({ ratio, atLeast, atMost }) {
  if (atMost !== undefined) return `≤ ${atMost}`;
  return `≥ ${ratio ?? atLeast}`;
}

function range({ median, min, max }) {
  return `${short(median)} (${short(min)}–${short(max)})`;
}

function short(value) {
  return value < 10 ? value.toFixed(2) : value.toFixed(1);
}

function printRow(cells) {
  console.log(
    cells
      .map((cell, i) => cell.padEnd(widths[i]))
      .join(' ')
      .trimEnd(),
  );
}
