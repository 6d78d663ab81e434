import { Worker } from 'node:worker_threads';

import { WalManager } from '../lib';
import { expectRangeError, expectTypeError } from './helpers/errors';
import { useLogs } from './helpers/logs';

const logs = useLogs();

describe('the options of open', () => {
  const wrongTypes: [RegExp, unknown][] = [
    [/segmentSize must be a number, not '64MB'/, { segmentSize: '64MB' }],
    [/readOnly must be true or false, not 1/, { readOnly: 1 }],
    [/create must be true or false, not 'no'/, { create: 'no' }],
    [/sync.maxDelay must be a number, not '10'/, { sync: { policy: 'batch', maxDelay: '10' } }],
    [/'salvage' writes to the log; it cannot go with readOnly/, { recovery: 'salvage', readOnly: true }],
    [/sync.maxDelay has no meaning with the policy 'immediate'/, { sync: { policy: 'immediate', maxDelay: 1 } }],
    [/the options of sync must be an object, not 5/, { sync: 5 }],
    [/sync.policy must be a string, not true/, { sync: { policy: true } }],
    [/codec must be an object with the functions encode and decode/, { codec: {} }],
    [/codec must be an object with the functions encode and decode, not null/, { codec: null }],
    [/recovery must be a string, not 0/, { recovery: 0 }],
    [/unknown option 'segmetSize' of WalManager.open; did you mean 'segmentSize'\?/, { segmetSize: 65_536 }],
    [/unknown option 'readonly' of WalManager.open; did you mean 'readOnly'\?/, { readonly: true }],
    [/unknown option 'maxdelay' of sync; did you mean 'maxDelay'\?/, { sync: { maxdelay: 5 } }],
    [/the options of WalManager.open must be an object, not null/, null],
    [/the options of WalManager.open must be an object, not 'x'/, 'x'],
    [/the options of WalManager.open must be an object, not an array/, []],
  ];
  test.each(wrongTypes)('%s', async (message, options) => {
    await expectTypeError(message, () => WalManager.open(logs.path, options as never));
  });

  const wrongValues: [RegExp, unknown][] = [
    [/segmentSize must be an integer from 65536 to 1073741824, not 1000/, { segmentSize: 1000 }],
    [/segmentSize must be an integer from 65536 to 1073741824, not 2147483648/, { segmentSize: 2 ** 31 }],
    [/segmentSize must be an integer from 65536 to 1073741824, not NaN/, { segmentSize: NaN }],
    [/segmentSize must be a multiple of 65536, not 65537/, { segmentSize: 65_537 }],
    [/sync must be one of 'immediate', 'batch', 'async', not 'bach'; did you mean 'batch'\?/, { sync: 'bach' }],
    [/sync.policy must be one of/, { sync: { policy: 'never' } }],
    [/sync.maxDelay must be from 0.1 to 3600000, not 0/, { sync: { policy: 'async', maxDelay: 0 } }],
    [/sync.maxDelay must be from 0.1 to 3600000, not NaN/, { sync: { maxDelay: NaN } }],
    [/recovery must be one of 'strict', 'salvage', not 'lenient'/, { recovery: 'lenient' }],
  ];
  test.each(wrongValues)('%s', async (message, options) => {
    await expectRangeError(message, () => WalManager.open(logs.path, options as never));
  });

  test.each([undefined, null, 5, '', 'nul\0', {}, Buffer.from('x')])('%p is not a directory', async (directory) => {
    await expectTypeError(/^directory must/, () => WalManager.open(directory as never));
  });

  test('an option that is undefined is as good as left out', async () => {
    const wal = await logs.open({ segmentSize: undefined, sync: undefined, codec: undefined, readOnly: undefined });
    expect(wal.append('x')).toBe(1);
  });
});

describe('what is appended', () => {
  const notData: [string, unknown][] = [
    ['undefined', undefined],
    ['null', null],
    ['5', 5],
    ['1n', 1n],
    ['true', true],
    ['an object', { length: 3 }],
    ['an array', [1, 2, 3]],
    ['a function', () => 'x'],
    ['a symbol', Symbol('x')],
    ['a Float64Array', new Float64Array(4)],
    ['an Int8Array', new Int8Array(4)],
    ['a Uint8ClampedArray', new Uint8ClampedArray(4)],
    ['a Uint16Array', new Uint16Array(4)],
    ['a DataView', new DataView(new ArrayBuffer(8))],
    ['an ArrayBuffer', new ArrayBuffer(8)],
    ['a String', Object('x')],
  ];

  test.each(notData)('%s is not data', async (name, data) => {
    const wal = await logs.open();
    const message = new RegExp(`^data must be a Uint8Array \\(a Buffer is one\\) or a string, not ${name}$`);
    await expectTypeError(message, () => wal.append(data as never));
    await expectTypeError(message, () => wal.append(data as never, { kind: 1 }));
    expect(wal.lastSequence).toBe(0);
    expect(wal.append('fine')).toBe(1);
  });

  test.each(notData.slice(2))('%s is not a key', async (_, key) => {
    const wal = await logs.open();
    await expectTypeError(/^key must be a Uint8Array/, () => wal.append('x', { key: key as never }));
    await expectTypeError(/^key must be a Uint8Array/, () => wal.read({ key: key as never }));
    expect(wal.lastSequence).toBe(0);
  });

  test('memory that another thread changes meanwhile is stored with a checksum that holds', async () => {
    const wal = await logs.open();
    const shared = new Uint8Array(new SharedArrayBuffer(3000));
    const scribbler = new Worker(
      `const bytes = require('node:worker_threads').workerData;
       for (let i = 0; ; i++) bytes.fill(i);`,
      { eval: true, workerData: shared },
    );
    await new Promise((resolve) => scribbler.once('online', resolve));
    for (let i = 0; i < 3000; i++) {
      wal.append(shared);
      wal.append(shared.subarray(0, 7), { key: shared.subarray(0, 100) });
      wal.appendBatch([{ data: shared, key: shared }, { data: 'x' }]);
      wal.appendBatch({ buffer: shared, offsets: Uint32Array.of(0, 10, 3000), key: shared });
    }
    await scribbler.terminate();
    const report = await wal.verify();
    expect(report).toMatchObject({ ok: true, records: 18_000 });
  });

  test('a key has a limit', async () => {
    const wal = await logs.open();
    const message = /^key has 65536 bytes; the limit is 65535$/;
    await expectRangeError(message, () => wal.append('x', { key: Buffer.alloc(65_536) }));
    await expectRangeError(message, () => wal.append('x', { key: 'k'.repeat(65_536) }));
    await expectRangeError(/^key has 90000 bytes/, () => wal.append('x', { key: '水'.repeat(30_000) }));
    await expectRangeError(message, () =>
      wal.appendBatch({ buffer: Buffer.alloc(1), offsets: Uint32Array.of(0, 1), key: Buffer.alloc(65_536) }),
    );
    expect(wal.lastSequence).toBe(0);
  });

  test.each([-1, 256, 1.5, NaN, Infinity])('%p is not a kind', async (kind) => {
    const wal = await logs.open();
    const message = /^kind must be an integer from 0 to 255, not/;
    await expectRangeError(message, () => wal.append('x', { kind }));
    await expectRangeError(message, () =>
      wal.appendBatch({ buffer: Buffer.alloc(1), offsets: Uint32Array.of(0, 1), kind }),
    );
    expect(wal.lastSequence).toBe(0);
  });

  test('options of append have to be options of append', async () => {
    const wal = await logs.open();
    await expectTypeError(/kind must be a number, not '1'/, () => wal.append('x', { kind: '1' as never }));
    await expectTypeError(/unknown option 'knd' of append; did you mean 'kind'\?/, () =>
      wal.append('x', { knd: 1 } as never),
    );
    await expectTypeError(/the options of append must be an object, not 5/, () => wal.append('x', 5 as never));
    expect(wal.lastSequence).toBe(0);
  });
});

describe('the options of read', () => {
  const wrong: [typeof TypeError | typeof RangeError, RegExp, object | null][] = [
    [TypeError, /from must be a sequence number, not '1'/, { from: '1' }],
    [RangeError, /from must be an integer of at least 1/, { from: 0 }],
    [RangeError, /to must be an integer of at least 1/, { to: 1.5 }],
    [RangeError, /from must be an integer of at least 1/, { from: 2 ** 53 }],
    [TypeError, /limit must be a number, not 1n/, { limit: 1n }],
    [RangeError, /limit must be an integer from 0/, { limit: -1 }],
    [TypeError, /reverse must be true or false/, { reverse: 'yes' }],
    [TypeError, /fromTime must be a Date or a number of ms, not '2026'/, { fromTime: '2026' }],
    [RangeError, /toTime is not a time: Invalid Date/, { toTime: new Date(NaN) }],
    [RangeError, /kind must be an integer from 0 to 255, not 300/, { kind: 300 }],
    [TypeError, /kind must be a number, not 'insert'/, { kind: ['insert'] }],
    [RangeError, /kind is an empty array/, { kind: [] }],
    [RangeError, /key has 65536 bytes/, { key: Buffer.alloc(65_536) }],
    [TypeError, /unknown option 'form' of read; did you mean 'from'\?/, { form: 1 }],
    [TypeError, /the options of read must be an object, not null/, null],
  ];
  test.each(wrong)('%p %s', async (type, message, options) => {
    const wal = await logs.open();
    const read = (): unknown => wal.read(options as never);
    expect(read).toThrow(type);
    expect(read).toThrow(message);
  });

  test.each([0, 1000, 2 ** 27, 1024.5])('%p is not a size of batches', async (batchBytes) => {
    const wal = await logs.open();
    await expectRangeError(/batchBytes must be an integer from 1024 to 67108864/, () =>
      wal.readBatches({ batchBytes }),
    );
  });

  const methods: [string, (wal: WalManager, sequence: never) => unknown][] = [
    ['get', (wal, sequence) => wal.get(sequence)],
    ['truncateBefore', (wal, sequence) => wal.truncateBefore(sequence)],
    ['whenDurable', (wal, sequence) => wal.whenDurable(sequence)],
  ];
  test.each(methods)('%s takes a sequence number', async (_, use) => {
    const wal = await logs.open();
    await expectTypeError(/sequence must be a sequence number, not undefined/, () => use(wal, undefined as never));
    await expectTypeError(/sequence must be a sequence number, not '1'/, () => use(wal, '1' as never));
    for (const sequence of [0, -1, 1.5, NaN, Infinity, 2 ** 53]) {
      await expectRangeError(/at least 1/, () => use(wal, sequence as never));
    }
  });
});
