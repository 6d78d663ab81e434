import { existsSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';

import { NullWal, WalManager } from '../lib';
import type { Wal, WalErrorCode } from '../lib';
import { expectRangeError, expectTypeError, expectWalError } from './helpers/errors';
import { useLogs } from './helpers/logs';
import { collect, inputs, packed } from './helpers/records';

const logs = useLogs();

// Both are the one interface, or this file does not compile: neither can have a public name that the other lacks.
type Same<A, B> = (<X>() => X extends A ? 1 : 2) extends <X>() => X extends B ? 1 : 2 ? true : false;
const sameSurface: Same<keyof WalManager, keyof NullWal> = true;
const asWal = (log: WalManager | NullWal): Wal => log;
const asTypedWal = (log: WalManager<{ a: number }> | NullWal<{ a: number }>): Wal<{ a: number }> => log;

test('both are the one interface', async () => {
  expect(sameSurface).toBe(true);
  expect(asWal(new NullWal()).enabled).toBe(false);
  expect(asWal(await logs.open()).enabled).toBe(true);
  expect(asTypedWal(new NullWal<{ a: number }>()).append).toBeInstanceOf(Function);
});

test('a log is switched off by an option, and the disk is left alone', async () => {
  for (const enabled of [false, true]) {
    const wal: Wal = await WalManager.open(logs.path, { enabled });
    expect(wal.enabled).toBe(enabled);
    expect(wal instanceof NullWal).toBe(!enabled);
    expect(existsSync(logs.path)).toBe(enabled);
    expect(wal.append('x')).toBe(1);
    await wal.close();
  }
});

test('appends have numbers and are gone', async () => {
  const wal = await NullWal.open(logs.path);
  expect(wal.append('a')).toBe(1);
  expect(wal.appendBatch(inputs('b', 'c'))).toBe(2);
  expect(wal.appendBatch(packed([Buffer.from('d'), Buffer.from('e')]))).toBe(4);
  expect(await wal.write('f', { sync: 'immediate' })).toBe(6);
  expect(await wal.writeBatch(inputs('g', 'h'))).toBe(7);
  const transaction = wal.transaction();
  transaction.append('i');
  transaction.append('j');
  expect(await transaction.commit()).toBe(9);
  expect([wal.firstSequence, wal.lastSequence, wal.durableSequence]).toEqual([11, 10, 10]);
  expect(await wal.sync()).toBe(10);
  await wal.whenDurable(10);
  expect([...wal.read()]).toEqual([]);
  expect(await collect(wal.read())).toEqual([]);
  expect(await collect(wal.readBatches())).toEqual([]);
  expect(await collect(wal.createReadStream())).toEqual([]);
  expect(wal.get(1)).toBeUndefined();
  expect(wal.segments()).toEqual([]);
  expect(wal.stats()).toMatchObject({ appends: 6, records: 10, bytes: 10, diskBytes: 0, dirtyBytes: 0 });
  expect(await wal.replay(undefined, () => Promise.reject(new Error('called')))).toMatchObject({ records: 0 });
  expect(await wal.verify()).toMatchObject({ ok: true, records: 0 });
  expect(await wal.health()).toMatchObject({ ok: true });
  await wal.rotate();
  await wal.truncateBefore(5);
  expect(await wal.createCheckpoint({ data: 'x' })).toMatchObject({ sequence: 10, data: Buffer.from('x') });
  expect(wal.checkpoints()).toEqual([]);
  await pipeline(['k', 'l'], wal.createWriteStream());
  expect(wal.lastSequence).toBe(12);
  await wal.truncateAfter(5);
  expect(wal.append('again')).toBe(6);
  expect(existsSync(logs.path)).toBe(false);
});

test('a live read waits for its signal or the close', async () => {
  const wal = new NullWal();
  const controller = new AbortController();
  const aborted = expectWalError('WAL_ABORTED', () => collect(wal.read({ live: true, signal: controller.signal })));
  const ended = collect(wal.readBatches({ live: true }));
  wal.append('x');
  controller.abort();
  await aborted;
  await wal.close();
  expect(await ended).toEqual([]);
});

test('misuse is misuse here too', async () => {
  const wal = new NullWal();
  const wrongOption = { enable: false } as never;
  await expectTypeError(/^data must be a Uint8Array/, () => wal.append(5 as never));
  await expectTypeError(/^records\[0\].data must be/, () => wal.appendBatch([{ data: null as never }]));
  await expectTypeError(/unknown option 'knd' of append/, () => wal.append('x', { knd: 1 } as never));
  await expectRangeError(/^kind must be/, () => wal.append('x', { kind: 300 }));
  await expectRangeError(/records is empty/, () => wal.appendBatch([]));
  await expectTypeError(/from must be a sequence number/, () => wal.read({ from: '1' as never }));
  await expectTypeError(/handler must be a function/, () => wal.replay(1, undefined as never));
  await expectTypeError(/unknown option 'enable' of WalManager.open/, () => WalManager.open(logs.path, wrongOption));
  await expectTypeError(/enabled must be true or false, not 0/, () =>
    WalManager.open(logs.path, { enabled: 0 as never }),
  );
  expect(wal.lastSequence).toBe(0);
});

const uses: [string, boolean, (wal: Wal) => unknown][] = [
  ['append', true, (wal) => wal.append('x')],
  ['appendBatch', true, (wal) => wal.appendBatch(inputs('x'))],
  ['write', true, (wal) => wal.write('x')],
  ['writeBatch', true, (wal) => wal.writeBatch(inputs('x'))],
  ['transaction', true, (wal) => wal.transaction()],
  ['sync', true, (wal) => wal.sync()],
  ['rotate', true, (wal) => wal.rotate()],
  ['truncateBefore', true, (wal) => wal.truncateBefore(1)],
  ['truncateAfter', true, (wal) => wal.truncateAfter(0)],
  ['createCheckpoint', true, (wal) => wal.createCheckpoint()],
  ['checkpoints', false, (wal) => wal.checkpoints()],
  ['read', false, (wal) => [...wal.read()]],
  ['readBatches', false, (wal) => collect(wal.readBatches())],
  ['replay', false, (wal) => wal.replay(1, () => undefined)],
  ['get', false, (wal) => wal.get(1)],
  ['segments', false, (wal) => wal.segments()],
  ['lastSequence', false, (wal) => wal.lastSequence],
  ['stats', false, (wal) => wal.stats()],
  ['health', false, (wal) => wal.health()],
  ['verify', false, (wal) => wal.verify()],
];

test.each(uses)('%s of a closed or read-only one is refused as the real one refuses it', async (_, writes, use) => {
  const refusal = async (wal: Wal): Promise<WalErrorCode | undefined> => {
    try {
      await use(wal);
      return undefined;
    } catch (error) {
      return (error as { code?: WalErrorCode }).code;
    }
  };
  await (await logs.open()).close();
  for (const enabled of [true, false]) {
    const closed = await WalManager.open(logs.path, { enabled });
    await closed.close();
    await closed.close();
    expect(await refusal(closed)).toBe('WAL_CLOSED');
    const readOnly = await WalManager.open(logs.path, { enabled, readOnly: true });
    expect(await refusal(readOnly)).toBe(writes ? 'WAL_READ_ONLY' : undefined);
    await readOnly.close();
  }
});
