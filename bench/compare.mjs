// npm run bench:compare -- before.json after.json: what became slower or faster, and what is only noise.
//
// A difference counts when both the test of Mann and Whitney says that it would come about by chance in less than one case
// of twenty, and the medians are further apart than `leastChange`. With fewer than four trials on a side that test can
// never be so sure; then no trial of the one may be among those of the other, and the change must be twice as large. With
// fewer than three nothing is sure.
// Ends with status 1 when something of segwal's became slower, so that a script can tell.
import { parseArgs } from 'node:util';

import { short } from './report.mjs';
import { readResults } from './results.mjs';
import { mannWhitney, summarize } from './statistics.mjs';

const chance = 0.05;
const leastChange = 0.05;
const enoughTrials = 4;
const leastTrials = 3;
/** What says whether it is the same machine. */
const sameMachine = ['cpu', 'cores', 'memoryGiB', 'system', 'fileSystem', 'disk', 'node', 'crc32c'];

const { positionals } = parseArgs({ allowPositionals: true });
if (positionals.length !== 2) {
  console.error('usage: npm run bench:compare -- before.json after.json');
  process.exit(2);
}
const [before, after] = positionals.map(readResults);

for (const name of sameMachine) {
  const [was, is] = [before.machine[name], after.machine[name]];
  if (was !== is) console.log(`other ${name}: ${was} before, ${is} after`);
}
const rows = measuresOf(before).flatMap((old) => {
  const now = measuresOf(after).find(({ key }) => key === old.key);
  return now === undefined ? [] : [{ ...old, ...compare(old, now) }];
});
if (rows.length === 0) {
  console.error('the two files have nothing in common');
  process.exit(2);
}
for (const { verdict, name, contender, unit, was, is, change, p } of rows) {
  const sign = change >= 0 ? '+' : '−';
  const percent = `${sign}${Math.abs(change * 100).toFixed(1)} %`;
  const numbers = `${short(was)} → ${short(is)} ${unit}`;
  console.log(`${verdict.padEnd(7)} ${percent.padStart(9)}  p ${p.toFixed(3)}  ${name}, ${contender}: ${numbers}`);
}
const slower = rows.filter(({ verdict, contender }) => verdict === 'slower' && isOurs(contender));
const faster = rows.filter(({ verdict, contender }) => verdict === 'faster' && isOurs(contender));
console.log(
  `segwal: ${slower.length} slower, ${faster.length} faster, of ${rows.filter(({ contender }) => isOurs(contender)).length}`,
);
if (slower.length > 0) process.exitCode = 1;

function isOurs(contender) {
  return !/^(raw|control)\b/.test(contender) && !before.peers.some(({ name }) => name === contender);
}

function measuresOf({ results }) {
  return results.flatMap(({ suite, name, unit, better, contenders }) =>
    contenders.map(({ contender, values }) => ({
      key: `${suite}/${name}/${contender}`,
      name,
      contender,
      unit,
      better,
      values,
    })),
  );
}

/** `change` is that of the median, positive where it grew. */
function compare({ values: old, better }, { values: now }) {
  const [was, is] = [summarize(old), summarize(now)];
  const change = is.median / was.median - 1;
  const p = mannWhitney(old, now);
  const trials = Math.min(old.length, now.length);
  const apart = is.min > was.max || is.max < was.min;
  const clear = trials >= leastTrials && apart && Math.abs(change) > 2 * leastChange;
  const sure = trials < enoughTrials ? clear : p < chance && Math.abs(change) > leastChange;
  const verdict = !sure ? 'noise' : change > 0 === (better === 'more') ? 'faster' : 'slower';
  return { was: was.median, is: is.median, change, p, verdict };
}
