import type { Codec } from '../lib';
import { expectTypeError, failureOf } from './helpers/errors';
import { useLogs } from './helpers/logs';
import { collect } from './helpers/records';

const logs = useLogs();

interface Order {
  id: number;
  item: string;
}

const json: Codec<Order> = {
  encode: (order) => Buffer.from(JSON.stringify(order)),
  decode: (data) => JSON.parse(data.toString()) as Order,
};

const orders: Order[] = [
  { id: 1, item: 'tea' },
  { id: 2, item: '水' },
];

test('a typed log takes and gives values', async () => {
  const wal = await logs.open({ codec: json });
  expect(wal.append(orders[0]!)).toBe(1);
  expect(wal.append(orders[1]!, { kind: 2, key: 'k' })).toBe(2);
  expect(Array.from(wal.read(), ({ data }) => data)).toEqual(orders);
  expect((await collect(wal.read())).map(({ data }) => data)).toEqual(orders);
  expect((await collect(wal.readBatches())).flat().map(({ data }) => data)).toEqual(orders);
  expect(wal.get(2)).toMatchObject({ data: orders[1], kind: 2, key: Buffer.from('k') });
  expect(wal.get(1)!.data.item.length).toBe(3);
});

test('a batch of values is encoded', async () => {
  const wal = await logs.open({ codec: json });
  wal.appendBatch(orders.map((data) => ({ data })));
  expect(Array.from(wal.readSegment(1), ({ data }) => data)).toEqual(orders);
});

test('a packed batch is bytes already', async () => {
  const wal = await logs.open({ codec: json });
  const buffer = Buffer.from(JSON.stringify(orders[0]));
  wal.appendBatch({ buffer, offsets: Uint32Array.of(0, buffer.length) });
  expect(wal.get(1)!.data).toEqual(orders[0]);
});

test('a codec may encode to a string', async () => {
  const wal = await logs.open<number[]>({
    codec: { encode: JSON.stringify, decode: (data) => JSON.parse(data.toString()) as number[] },
  });
  wal.append([1, 2, 3]);
  expect(wal.get(1)!.data).toEqual([1, 2, 3]);
});

test('everything goes through the codec, strings too', async () => {
  const wal = await logs.open<string>({
    codec: { encode: (text) => text.toUpperCase(), decode: (data) => data.toString().concat('!') },
  });
  wal.append('tea');
  expect(wal.get(1)!.data).toBe('TEA!');
});

test('an error of encode reaches the caller, and nothing is appended', async () => {
  const failure = new Error('cannot encode this');
  const wal = await logs.open<string>({
    codec: {
      encode: (text) => {
        if (text === 'bad') throw failure;
        return text;
      },
      decode: String,
    },
  });
  expect(await failureOf(() => wal.append('bad'))).toBe(failure);
  expect(await failureOf(() => wal.appendBatch([{ data: 'good' }, { data: 'bad' }]))).toBe(failure);
  expect(wal.lastSequence).toBe(0);
});

test('encode has to make bytes', async () => {
  const wal = await logs.open<string>({ codec: { encode: () => 5 as never, decode: String } });
  await expectTypeError(/codec\.encode/, () => wal.append('x'));
  await expectTypeError(/codec\.encode made of records\[0\]\.data/, () => wal.appendBatch([{ data: 'x' }]));
});

test('an error of decode names the record and has the cause', async () => {
  const failure = new Error('cannot decode this');
  const wal = await logs.open<string>({
    codec: {
      encode: String,
      decode: (data) => {
        if (data.toString() === 'bad') throw failure;
        return data.toString();
      },
    },
  });
  wal.append('good');
  wal.append('bad');
  wal.append('good');
  for (const read of [
    () => [...wal.read()],
    () => collect(wal.read()),
    () => collect(wal.readBatches()),
    () => wal.get(2),
  ]) {
    const error = (await failureOf(read)) as Error;
    expect(error.message).toBe('codec.decode failed on record 2: cannot decode this');
    expect(error.cause).toBe(failure);
  }
  expect(wal.get(3)!.data).toBe('good');
});
