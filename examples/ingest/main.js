// node examples/ingest/main.js [--seed n] [folder]
//
// Ingests some hundred thousand records of public data in a child process, kills it with SIGKILL in the middle, opens
// the log again, goes on where it ends, and compares everything with the input. Exits with 1 when a record that was
// appended is missing, or one is there that was not.
const { fork } = require('node:child_process');
const { once } = require('node:events');
const { mkdtempSync, mkdirSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');
const { WalManager } = require('segwal');

const { lastAcknowledged } = require('./acknowledgements');
const { appendNext } = require('./append');
const { check } = require('./check');
const { loadCorpus } = require('./corpus');
const { fraction, parseCommandLine, segmentSize } = require('./options');
const { printFacts, printPhases, printRecovery } = require('./print');

async function main() {
  const { seed, parent = tmpdir() } = parseCommandLine();
  mkdirSync(parent, { recursive: true });
  const folder = mkdtempSync(join(parent, 'segwal-ingest-'));
  try {
    process.exitCode = (await run(folder, seed)) ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function run(folder, seed) {
  const directory = join(folder, 'log');
  const acknowledgements = join(folder, 'acknowledged');
  const records = loadCorpus();
  const killAt = Math.round(records.length * (0.1 + 0.6 * fraction(seed)));
  console.log(
    `${records.length} records; a child ingests them and is killed soon after record ${killAt} (--seed ${seed})`,
  );

  const ingested = await ingestAndKill(directory, acknowledgements, killAt);
  const acknowledged = lastAcknowledged(acknowledgements);
  if (acknowledged === records.length) console.log('the child was faster than the kill: nothing was interrupted');

  const wal = await WalManager.open(directory, { segmentSize });
  printRecovery(wal.recovery);
  const atKill = wal.lastSequence;
  const recovered = check(wal, records, acknowledged);

  const resumed = timed(() => {
    for (let last = atKill; last < records.length;) last = appendNext(wal, records, last);
  });
  const readBack = timed(() => check(wal, records, records.length));
  const verified = await wal.verify();
  const segments = wal.segments().length;
  await wal.close();

  printPhases(records, [
    { what: 'ingested by the child', ...ingested },
    { what: 'ingested after the kill', from: atKill, to: records.length, ms: resumed.ms },
    { what: 'read back and compared', from: 0, to: records.length, ms: readBack.ms },
  ]);
  const lost = recovered.lost + readBack.result.lost;
  const invented = recovered.invented + readBack.result.invented;
  printFacts({
    'acknowledged at kill': acknowledged,
    'in the log at kill': atKill,
    'recovery, ms': wal.recovery.durationMs.toFixed(1),
    segments,
    verified: verified.ok ? 'ok' : 'NOT OK',
    lost,
    invented,
  });
  return lost === 0 && invented === 0 && verified.ok;
}

/**
 * Starts the child and kills it once it has acknowledged record `killAt`. Returns how fast it was since its first
 * acknowledgement was seen.
 */
async function ingestAndKill(directory, acknowledgements, killAt) {
  const child = fork(join(__dirname, 'child.js'), [directory, acknowledgements]);
  const exit = once(child, 'exit');
  const reached = async (sequence) => {
    while (lastAcknowledged(acknowledgements) < sequence) {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error('the child ended by itself');
      await sleep(1);
    }
    return { record: lastAcknowledged(acknowledgements), time: performance.now() };
  };
  const first = await reached(1);
  const last = await reached(killAt);
  child.kill('SIGKILL');
  await exit;
  return { from: first.record, to: last.record, ms: last.time - first.time };
}

function timed(action) {
  const begin = performance.now();
  const result = action();
  return { result, ms: performance.now() - begin };
}

main();
