// A disk without room, of each kind that this machine can make.
import { join } from 'node:path';

import { WalManager } from '../lib';
import { Disk, diskKinds } from './helpers/disks';
import { Subordinate } from './helpers/orders';

const segmentSize = 256 * 1024;
const overhead = 24;
const perSegment = Math.floor((segmentSize - 4096) / (1000 + overhead));

describe.each(diskKinds.map((kind) => [kind.name, kind] as const))('%s', (_, kind) => {
  const refusal = Disk.refusal(kind);
  if (refusal !== undefined) {
    test.skip(`is not tried: no such disk can be had here (${refusal})`, () => undefined);
    return;
  }
  let disk: Disk;
  let path: string;
  beforeEach(() => {
    disk = Disk.mount(kind);
    path = join(disk.path, 'log');
  });
  afterEach(() => {
    disk.unmount();
  });

  test('what fits is appended, what was is not hurt, and the same log goes on when there is room', async () => {
    const child = new Subordinate();
    await child.order('open', path, JSON.stringify({ segmentSize }));
    await child.order('append', 1000);
    await child.order('sync');
    await child.order('rotate'); // segment 2 is active, 3 is on its way
    await child.order('append', 1000);
    disk.fill();

    const refused = await child.order('append-until-refused', 1000);
    expect(refused).toMatchObject({
      code: 'WAL_DISK_FULL',
      cause: expect.stringMatching(/^(ENOSPC|EDQUOT)$/) as string,
    });
    const last = refused.value as number;
    expect((last - 1) % perSegment).toBe(0); // every segment is full to the last record that fits
    expect(await child.published('disk-full')).toMatchObject({ directory: path, code: 'WAL_DISK_FULL' });
    expect(await child.order('append', 1000)).toMatchObject({ code: 'WAL_DISK_FULL' });
    expect(await child.order('rotate')).toMatchObject({ code: 'WAL_DISK_FULL' });
    expect(await child.order('count')).toEqual({ value: last });
    expect(await child.order('sync')).toEqual({ value: last });
    expect(child.events.map(({ event }) => event)).toEqual(['disk-full']);

    disk.empty();
    expect(await child.published('disk-room')).toEqual({ event: 'disk-room', directory: path });
    expect(await child.order('append', 1000)).toEqual({ value: last + 1 });
    expect(await child.order('sync')).toEqual({ value: last + 1 });
    expect(await child.order('count')).toEqual({ value: last + 1 });
    expect(await child.order('close')).toEqual({});
    await child.dismiss();

    const wal = await WalManager.open(path);
    expect(wal.lastSequence).toBe(last + 1);
    expect(await wal.verify()).toMatchObject({ ok: true });
    await wal.close();
  });

  test('a log is closed, opened and read on a full disk', async () => {
    const child = new Subordinate();
    await child.order('open', path, JSON.stringify({ segmentSize }));
    disk.fill();
    const { value: last } = await child.order('append-until-refused', 1000);
    expect(await child.order('close')).toEqual({});
    await child.dismiss();
    const wal = await WalManager.open(path);
    expect(wal.recovery.clean).toBe(true);
    expect(wal.lastSequence).toBe(last);
    await wal.close();
  });

  test('a log that cannot be made leaves nothing that hinders the next attempt', async () => {
    disk.fill();
    await expect(WalManager.open(path, { segmentSize })).rejects.toMatchObject({ code: 'WAL_DISK_FULL' });
    disk.empty();
    const wal = await WalManager.open(path, { segmentSize });
    expect(wal.append('x')).toBe(1);
    await wal.close();
  });
});
