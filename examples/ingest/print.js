// What the run has to say, in plain lines.

function printRecovery(report) {
  const { clean, segments, records, bytes, durationMs, findings } = report;
  const state = clean ? 'closed in order' : 'not closed in order';
  console.log(
    `recovery: ${state}; ${records} records, ${megabytes(bytes)} MB in ${segments} segments; ${durationMs.toFixed(1)} ms`,
  );
  for (const { case: rule, segment, offset, bytes: length, action } of findings) {
    console.log(`  case ${rule}: segment ${segment}, ${length} bytes at ${offset}: ${action}`);
  }
}

/** `phases`: what was done, with which records (`from` up to, not including, `to`), in how many ms. */
function printPhases(records, phases) {
  console.log(`\n${''.padEnd(24)}${['records', 'MB', 's', 'MB/s'].map((title) => title.padStart(10)).join('')}`);
  for (const { what, from, to, ms } of phases) {
    const bytes = records.slice(from, to).reduce((sum, { key, data }) => sum + key.length + data.length, 0);
    const cells = [String(to - from), megabytes(bytes), (ms / 1000).toFixed(2), megabytes((bytes / ms) * 1000)];
    console.log(what.padEnd(24) + cells.map((cell) => cell.padStart(10)).join(''));
  }
  console.log();
}

function printFacts(facts) {
  for (const [name, value] of Object.entries(facts)) console.log(`${name.padEnd(24)}${String(value).padStart(10)}`);
}

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1);
}

module.exports = { printFacts, printPhases, printRecovery };
