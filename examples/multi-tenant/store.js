// A store of many tenants: each has keys and values. What happens goes through a log, from which the store comes back as
// it was at its end, or at any moment of the last seven days.
const { mkdirSync, readdirSync, readFileSync } = require('node:fs');
const { join } = require('node:path');
const { Operation, WalManager } = require('segwal');

const { removeFile, writeWhole } = require('../shared/snapshot');

const retentionMs = 7 * 24 * 3600 * 1000;

const operations = { insert: Operation.Insert, update: Operation.Update, delete: Operation.Delete };

class TenantStore {
  /** The state of the newest checkpoint, and what the log has behind it: side by side for different tenants. */
  static async open(directory) {
    mkdirSync(directory, { recursive: true });
    const wal = await WalManager.open(join(directory, 'log'), { segmentSize: 64 * 1024, compression: 'gzip' });
    const store = new TenantStore(directory, wal);
    const checkpoint = wal.checkpoints().at(-1);
    store.tenants = store.load(checkpoint?.data?.toString());
    const { records } = await wal.replay(checkpoint, (record) => apply(store.tenants, record), { concurrency: 8 });
    store.opened = { checkpoint: checkpoint?.sequence ?? 0, replayed: records };
    return store;
  }

  constructor(directory, wal) {
    this.directory = directory;
    this.wal = wal;
    this.tenants = new Map();
  }

  /** `{ tenant, operation, key, value }`: durable when this resolves. The time of an entry is that of its record. */
  async write(entry) {
    const sequence = await this.wal.write(toData(entry), toOptions(entry));
    applyEntry(this.tenants, entry);
    return sequence;
  }

  /** All of them or none, whosever they are. */
  async writeBatch(entries) {
    const transaction = this.wal.transaction();
    for (const entry of entries) transaction.append(toData(entry), toOptions(entry));
    const sequence = await transaction.commit();
    for (const entry of entries) applyEntry(this.tenants, entry);
    return sequence;
  }

  get(tenant, key) {
    return this.tenants.get(tenant)?.get(key);
  }

  /** From here on, `open` needs only what comes later. REQUIRES: no write is under way. */
  async checkpoint() {
    const sequence = this.wal.lastSequence;
    if (sequence === 0) return; // nothing has happened yet
    // Later than the time of every record that it covers, which is a fraction of a ms.
    const name = snapshotName(sequence, Date.now() + 1);
    writeWhole(join(this.directory, name), JSON.stringify(toJson(this.tenants)));
    await this.wal.createCheckpoint({ sequence, data: name });
    await this.wal.rotate(); // so that what the snapshot covers can go as a whole
  }

  /**
   * All tenants as they were at `date`, by the newest snapshot before and the log from there. Changes nothing. Throws a
   * `RangeError` for a date that lies before what is kept.
   */
  async asOf(date) {
    const base = this.snapshots().findLast(({ timestamp }) => timestamp <= date.getTime());
    if (base === undefined && this.wal.firstSequence > 1) {
      throw new RangeError(`${date.toISOString()} is not kept any more`);
    }
    const tenants = this.load(base?.name);
    await this.wal.replay(base, (record) => apply(tenants, record), { until: date });
    return toJson(tenants);
  }

  /** Lets go of what is needed for nothing but moments more than seven days ago. */
  async cleanUp(now = Date.now()) {
    const snapshots = this.snapshots();
    const base = snapshots.findLast(({ timestamp }) => timestamp <= now - retentionMs);
    if (base === undefined) return;
    await this.wal.truncateBefore(base.sequence + 1);
    const named = new Set(this.wal.checkpoints().map(({ data }) => data?.toString()));
    for (const { name, sequence } of snapshots) {
      if (sequence < base.sequence && !named.has(name)) removeFile(join(this.directory, name));
    }
  }

  toJSON() {
    return toJson(this.tenants);
  }

  close() {
    return this.wal.close();
  }

  /** By time. Only whole ones have a name. */
  snapshots() {
    return readdirSync(this.directory)
      .map((name) => ({ name, match: /^state-(\d+)-(\d+)\.json$/.exec(name) }))
      .filter(({ match }) => match !== null)
      .map(({ name, match }) => ({ name, sequence: Number(match[1]), timestamp: Number(match[2]) }))
      .sort((a, b) => a.timestamp - b.timestamp || a.sequence - b.sequence);
  }

  load(name) {
    const tenants = name === undefined ? [] : JSON.parse(readFileSync(join(this.directory, name), 'utf8'));
    return new Map(tenants.map(([tenant, entries]) => [tenant, new Map(entries)]));
  }
}

function snapshotName(sequence, timestamp) {
  return `state-${sequence}-${timestamp}.json`;
}

function toData({ key, value }) {
  return JSON.stringify({ key, value });
}

function toOptions({ tenant, operation }) {
  return { key: tenant, kind: operations[operation] };
}

function apply(tenants, { key: tenant, kind, data }) {
  const operation = Object.keys(operations).find((name) => operations[name] === kind);
  applyEntry(tenants, { tenant: tenant.toString(), operation, ...JSON.parse(data.toString()) });
}

function applyEntry(tenants, { tenant, operation, key, value }) {
  const entries = tenants.get(tenant) ?? new Map();
  tenants.set(tenant, entries);
  if (operation === 'delete') entries.delete(key);
  else entries.set(key, value);
}

/** In an order that does not depend on how it came about. */
function toJson(tenants) {
  const sorted = (map) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
  return sorted(tenants).map(([tenant, entries]) => [tenant, sorted(entries)]);
}

module.exports = { TenantStore, applyEntry, toJson };
