// The n-th sync of a real process fails, as the system call would on a disk that fails.
import { WalManager } from '../lib';
import { useLogs } from './helpers/logs';
import { injectInto, straceRefusal, Subordinate } from './helpers/orders';

const logs = useLogs();
const refusal = straceRefusal();

if (refusal !== undefined) {
  test.skip(`a sync that fails is not tried: system calls cannot be traced here (${refusal})`, () => undefined);
} else {
  describe.each([1, 2, 3, 4])('sync %d fails', (nth) => {
    test.each(['EIO', 'ENOSPC'])('with %s: it is final, for everybody', async (error) => {
      const child = new Subordinate();
      await child.order(
        'open',
        logs.path,
        JSON.stringify({ segmentSize: 1024 * 1024, sync: { policy: 'async', maxDelay: 60_000 } }),
      );
      const tracer = await injectInto(child.child.pid, `msync:error=${error}:when=${nth}`);
      for (let i = 1; i < nth; i++) {
        expect(await child.order('append')).toEqual({ value: i });
        expect(await child.order('sync')).toEqual({ value: i });
      }
      for (let i = nth; i < nth + 3; i++) expect(await child.order('append')).toEqual({ value: i });
      const poisoned = { code: 'WAL_POISONED', cause: error };
      await child.order('wait', nth);
      await child.order('wait-sync');
      await child.order('wait', nth + 2);
      const { value: waited } = await child.order('waited');
      expect(waited).toMatchObject([poisoned, poisoned, poisoned]);
      await child.order('wait', nth + 100); // whoever comes later, for whatever
      expect((await child.order('waited')).value).toMatchObject([poisoned]);
      expect(await child.published('poisoned')).toMatchObject({ directory: logs.path, code: 'WAL_POISONED' });

      // The next msync would succeed. It is not asked.
      expect(await child.order('append')).toMatchObject(poisoned);
      expect(await child.order('sync')).toMatchObject(poisoned);
      expect(await child.order('rotate')).toMatchObject(poisoned);
      expect(await child.order('durable')).toEqual({ value: nth - 1 });
      expect(await child.order('count')).toEqual({ value: nth + 2 });
      expect(await child.order('close')).toMatchObject(poisoned);
      await child.dismiss();
      await tracer.ended;

      // The memory of this machine has not been lost, so everything is there; opening makes it durable.
      const wal = await WalManager.open(logs.path);
      expect(wal.lastSequence).toBe(nth + 2);
      expect(wal.durableSequence).toBe(nth + 2);
      expect(await wal.verify()).toMatchObject({ ok: true });
      expect(wal.append('goes on')).toBe(nth + 3);
      await wal.close();
    });
  });

  test('a sync that fails while the log is closed: close says so, and the log is closed', async () => {
    const child = new Subordinate();
    await child.order(
      'open',
      logs.path,
      JSON.stringify({ segmentSize: 1024 * 1024, sync: { policy: 'async', maxDelay: 60_000 } }),
    );
    const tracer = await injectInto(child.child.pid, 'msync:error=EIO:when=1+');
    await child.order('append');
    expect(await child.order('close')).toMatchObject({ code: 'WAL_POISONED', cause: 'EIO' });
    expect(await child.order('append')).toMatchObject({ code: 'WAL_CLOSED' });
    await child.dismiss();
    await tracer.ended;
    const wal = await WalManager.open(logs.path);
    expect(wal.lastSequence).toBe(1);
    await wal.close();
  });
}
