// node examples/multi-tenant/main.js [--seed n] [folder]
//
// A store of many tenants is killed, three times, and comes back from its newest checkpoint and the log behind it. Then it
// is asked for what it was at moments of the past.
const assert = require('node:assert/strict');
const { join } = require('node:path');

const { runAndKill } = require('../shared/crash');
const { below, main, randomFrom } = require('../shared/main');
const { stepOf } = require('./steps');
const { TenantStore, applyEntry, toJson } = require('./store');

const lives = 3;

async function run(folder, seed) {
  const random = randomFrom(seed);
  const directory = join(folder, 'store');
  const facts = {};
  let steps = 0;
  for (let life = 1; life <= lives; life++) {
    const lines = await runAndKill(join(__dirname, 'child.js'), [directory, seed, steps + 1], 40 + below(random, 150));
    const store = await TenantStore.open(directory);
    steps = whichStep(store, seed, Number(lines.at(-1)));
    const { checkpoint, replayed } = store.opened;
    facts[`killed after step ${steps}`] = `checkpoint ${checkpoint}, ${replayed} records behind it`;
    if (life === lives) facts['moments of the past'] = await checkThePast(store, seed, steps, random);
    await store.close();
  }
  facts['after eight days'] = await checkRetention(directory, entriesOf(seed, steps));
  return { ...facts, 'tenants as they should be': 'yes' };
}

/** What was done in so many steps, in order. */
function entriesOf(seed, steps) {
  return Array.from({ length: steps }, (_, i) => stepOf(seed, i + 1)).flat();
}

function tenantsAfter(entries) {
  const tenants = new Map();
  for (const entry of entries) applyEntry(tenants, entry);
  return toJson(tenants);
}

/** The step that was under way at the kill may have been taken or not, but no half of it; the rest must be there. */
function whichStep(store, seed, acknowledged) {
  const found = JSON.stringify(store);
  const same = (steps) => {
    const entries = entriesOf(seed, steps);
    // A step may change nothing (a key is deleted that is not there), but it leaves its records.
    return entries.length === store.wal.lastSequence && JSON.stringify(tenantsAfter(entries)) === found;
  };
  const steps = [acknowledged, acknowledged + 1].find(same);
  assert(steps !== undefined, `the tenants are as after no step (${acknowledged} were acknowledged)`);
  return steps;
}

/** Entry n is record n: what there was at a time is what the records have that are not later. */
async function checkThePast(store, seed, steps, random) {
  const entries = entriesOf(seed, steps);
  const records = [...store.wal.read()];
  assert.equal(records.length, entries.length);
  const moments = 12;
  for (let i = 0; i < moments; i++) {
    const date = new Date(records[below(random, records.length)].timestamp);
    const then = entries.filter((_, n) => records[n].timestamp <= date.getTime());
    assert.deepEqual(await store.asOf(date), tenantsAfter(then));
  }
  return `${moments} looked at`;
}

/** Eight days later, what is older than the last checkpoint is gone, and the tenants are as they were. */
async function checkRetention(directory, entries) {
  const store = await TenantStore.open(directory);
  const early = new Date(store.wal.get(store.wal.firstSequence).timestamp);
  await store.checkpoint();
  await store.cleanUp();
  assert.equal(store.wal.firstSequence, 1, 'nothing is old enough yet');
  await store.asOf(early);
  await store.cleanUp(Date.now() + 8 * 24 * 3600 * 1000);
  assert.equal(store.wal.firstSequence, entries.length + 1);
  await assert.rejects(store.asOf(early), RangeError);
  await store.write({ tenant: 'tenant-0', operation: 'update', key: 'key-0', value: 'later' });
  await store.close();
  const again = await TenantStore.open(directory);
  const later = { tenant: 'tenant-0', operation: 'update', key: 'key-0', value: 'later' };
  assert.deepEqual(again.toJSON(), tenantsAfter([...entries, later]));
  assert.deepEqual(await again.asOf(new Date(Date.now() + 1000)), tenantsAfter([...entries, later]));
  await again.close();
  return `the log begins with record ${entries.length + 1}`;
}

main('multi-tenant', run);
