// Another process cuts the files of a log short while it is written and read.
import { statSync, truncateSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

import { WalManager } from '../lib';
import { expectWalError } from './helpers/errors';
import { randomFrom } from './helpers/appends';
import { segmentName } from './helpers/log-files';
import { useLogs } from './helpers/logs';
import { Subordinate } from './helpers/orders';

const logs = useLogs();
const segmentSize = 1024 * 1024;
/** Nothing becomes durable unless somebody asks: on a busy machine the cut may come long after the append. */
const undurable = { segmentSize, sync: { policy: 'async', maxDelay: 3_600_000 } };

const cuts: [what: string, size: number][] = [
  ['to nothing, its header page included', 0],
  ['to its header', 4096],
  ['in the middle of what was written', 64 * 1024],
  ['in the middle of what is still to be written', 768 * 1024],
];

/** There nobody can cut off what somebody has mapped. The last test here is about that. */
const refusesCuts = process.platform === 'win32';
const whereCutsSucceed = refusesCuts ? describe.skip : describe;

whereCutsSucceed.each(cuts)('the active segment is cut short %s', (_, size) => {
  test('while records are appended: the append throws, the process lives', async () => {
    const child = new Subordinate();
    expect(await child.order('open', logs.path, JSON.stringify({ segmentSize, sync: 'batch' }))).toEqual({ value: 0 });
    for (let i = 0; i < 100; i++) await child.order('append', 1000);
    const { value: durable } = await child.order('sync');
    expect(durable).toBe(100);
    truncateSync(join(logs.path, segmentName(1)), size);
    const refused = await child.order('append-until-refused', 1000);
    expect(refused).toMatchObject({ code: 'WAL_POISONED', cause: 'EIO' });
    expect(refused.message).toMatch('truncated it');
    expect(await child.order('append')).toMatchObject({ code: 'WAL_POISONED' });
    expect(await child.order('sync')).toMatchObject({ code: 'WAL_POISONED' });
    expect(await child.order('rotate')).toMatchObject({ code: 'WAL_POISONED' });
    expect(await child.published('poisoned')).toMatchObject({ directory: logs.path, code: 'WAL_POISONED' });
    expect(await child.order('close')).toMatchObject({ code: 'WAL_POISONED' });
    await child.dismiss();
    expect(child.events).toHaveLength(1);
    // What was durable is gone, and that is not passed over in silence; or it is there.
    if (size < 4096 + 100 * 1024) await expectWalError('WAL_CORRUPT', () => WalManager.open(logs.path));
  });

  test('while nobody appends: who asks for durability is refused, and close', async () => {
    const child = new Subordinate();
    await child.order('open', logs.path, JSON.stringify(undurable));
    await child.order('append', 1000);
    await child.order('sync');
    await child.order('append', 1000);
    truncateSync(join(logs.path, segmentName(1)), size);
    expect(await child.order('sync')).toMatchObject({ code: 'WAL_POISONED' });
    expect(await child.order('close')).toMatchObject({ code: 'WAL_POISONED' });
    await child.dismiss();
  });

  test('while nobody does anything: close says so', async () => {
    const child = new Subordinate();
    await child.order('open', logs.path, JSON.stringify(undurable));
    await child.order('append', 1000);
    truncateSync(join(logs.path, segmentName(1)), size);
    expect(await child.order('close')).toMatchObject({ code: 'WAL_POISONED' });
    await child.dismiss();
  });

  test('while somebody reads it: an error, and no record that was not appended', async () => {
    const child = new Subordinate();
    await child.order('open', logs.path, JSON.stringify({ segmentSize }));
    for (let i = 0; i < 100; i++) await child.order('append', 1000);
    expect(await child.order('count')).toEqual({ value: 100 });
    truncateSync(join(logs.path, segmentName(1)), size);
    const read = await child.order('count');
    if (size > 4096 + 100 * 1024) expect(read).toEqual({ value: 100 });
    else expect(read).toMatchObject({ code: 'WAL_IO' });
    await child.order('close');
    await child.dismiss();
  });
});

(refusesCuts ? test.skip : test)(
  'the active segment is removed: what is appended is never called durable',
  async () => {
    const child = new Subordinate();
    await child.order('open', logs.path, JSON.stringify({ segmentSize, sync: 'async' }));
    await child.order('append', 1000);
    expect(await child.order('sync')).toEqual({ value: 1 });
    unlinkSync(join(logs.path, segmentName(1)));
    await child.order('append', 1000);
    const removed = { code: 'WAL_POISONED', cause: 'ENOENT' };
    expect(await child.order('sync')).toMatchObject(removed);
    expect(await child.order('append', 1000)).toMatchObject(removed);
    expect(await child.order('durable')).toEqual({ value: 1 });
    expect(await child.order('close')).toMatchObject(removed);
    await child.dismiss();
    await expectWalError('WAL_CORRUPT', () => WalManager.open(logs.path));
  },
);

(refusesCuts ? test.skip : test)('a log that is cut short at a random moment never kills its process', async () => {
  const seed = Number(process.env['SEGWAL_SEED'] ?? Date.now() % 1e9);
  console.info(`seed ${seed}: SEGWAL_SEED=${seed} repeats this`);
  const random = randomFrom(seed);
  for (let round = 0; round < 8; round++) {
    const path = `${logs.path}-${round}`;
    const child = new Subordinate();
    await child.order('open', path, JSON.stringify({ segmentSize: 65_536 }));
    const refused = child.order('append-until-refused', 10 + Math.floor(random() * 2000));
    let stopped = false;
    void refused.then(() => (stopped = true));
    await setTimeout(random() * 30);
    for (let id = 1; !stopped; id++) {
      // Some of these are spares, some are full by now.
      try {
        const name = join(path, segmentName(id));
        truncateSync(name, Math.floor(random() * statSync(name).size));
      } catch {
        id = Math.max(0, id - 2);
        await setTimeout(1);
      }
    }
    expect(await refused).toMatchObject({ code: expect.stringMatching(/^WAL_(POISONED|IO)$/) as string });
    await child.order('close');
    await child.dismiss();
  }
});

(refusesCuts ? test : test.skip)('Windows refuses to cut a segment short, and the log goes on', async () => {
  const child = new Subordinate();
  await child.order('open', logs.path, JSON.stringify({ segmentSize }));
  await child.order('append', 1000);
  for (const [, size] of cuts) {
    expect(() => {
      truncateSync(join(logs.path, segmentName(1)), size);
    }).toThrow();
    expect(statSync(join(logs.path, segmentName(1))).size).toBe(segmentSize);
  }
  expect(await child.order('append', 1000)).toEqual({ value: 2 });
  expect(await child.order('sync')).toEqual({ value: 2 });
  expect(await child.order('count')).toEqual({ value: 2 });
  expect(await child.order('close')).toEqual({});
  await child.dismiss();
});
