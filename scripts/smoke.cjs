// What every runtime has to be able to do, Node or not, with whatever binary the package has for it:
// <runtime> scripts/smoke.cjs <package> <empty directory>. Prints one line; fails loudly.
const assert = require('node:assert/strict');
const { join, resolve } = require('node:path');

const { WalManager, WalError } = require(resolve(process.argv[2]));
const directory = join(resolve(process.argv[3]), 'log');
const count = 5000;
const text = (sequence) => `record ${sequence} ${'.'.repeat(sequence % 300)}`;

async function main() {
  const wal = await WalManager.open(directory, { segmentSize: 65_536 });
  for (let sequence = 1; sequence <= count; ++sequence) assert.equal(wal.append(text(sequence)), sequence);
  await wal.whenDurable(count);
  assert.equal(wal.durableSequence, count);
  await assert.rejects(WalManager.open(join(directory, 'LOCK')), WalError);
  let seen = 0;
  for await (const record of wal.read()) assert.equal(record.data.toString(), text(++seen));
  assert.equal(seen, count);
  await wal.truncateBefore(count - 10);
  const segments = wal.segments().length;
  await wal.close();

  const again = await WalManager.open(directory);
  assert.equal(again.recovery.clean, true);
  assert.equal(again.lastSequence, count);
  assert.equal(again.segments().length, segments);
  assert.equal((await again.verify()).ok, true);
  // Nothing that is handed out may lie in memory of the log's: its buffers are the runtime's own.
  const { data } = again.get(count);
  await again.close();
  assert.equal(data.toString(), text(count));
  const runtime = process.versions.bun
    ? `bun ${process.versions.bun}`
    : process.versions.deno
      ? `deno ${process.versions.deno}`
      : `node ${process.versions.node}`;
  console.log(`${runtime} ${process.platform} ${process.arch}: ${count} records, ${segments} segments`);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
