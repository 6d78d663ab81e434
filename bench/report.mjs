// The table on the terminal.

export function printMachine(machine) {
  for (const [name, value] of Object.entries(machine)) console.log(`${name.padEnd(12)} ${value}`);
}

export function printPeers(peers) {
  for (const { name, version, guarantee, missing } of peers) {
    console.log(
      missing === undefined
        ? `${`${name} ${version}`.padEnd(30)} ${guarantee}`
        : `${name.padEnd(30)} not measured: ${missing}`,
    );
  }
}

const widths = [46, 24, 12, 24, 12, 7];

export function printHeader(suite) {
  console.log();
  printRow([suite, 'median (least–greatest)', 'unit', 'target', 'thread, ns', 'others']);
}

/** A line for the case, and one for each contender. */
export function printResult({ name, unit, contenders, targets }) {
  console.log(name);
  for (const { contender, median, min, max, threadNs, others } of contenders) {
    const own = targets.filter(({ of }) => of === contender).map(targetText);
    printRow([
      `  ${contender}`,
      min === max ? short(median) : `${short(median)} (${short(min)}–${short(max)})`,
      unit,
      own.join(', '),
      threadNs === undefined ? '' : short(threadNs),
      `${Math.round(others * 100)} %`,
    ]);
  }
}

/** "0.93 × raw, wanted 0.90" */
export function targetText({ to, value, atLeast, atMost, met }) {
  const wanted = atMost === undefined ? `≥ ${atLeast}` : `≤ ${atMost}`;
  const reached = to === undefined ? wanted : `${value.toFixed(2)} × ${to}, ${wanted}`;
  return met ? reached : `${reached} missed`;
}

export function short(value) {
  if (value >= 1000) return value.toFixed(0);
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
