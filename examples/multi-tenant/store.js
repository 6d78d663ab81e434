// A store of many tenants: each has keys and values. What happens goes through a log, from which the store comes back as
// it was at its end, or at any moment since the oldest checkpoint that is kept.
const { mkdirSync, readFileSync } = require('node:fs');
const { join } = require('node:path');
const { Operation, WalManager } = require('segwal');

const { writeWhole } = require('../shared/snapshot');

const operations = { insert: Operation.Insert, update: Operation.Update, delete: Operation.Delete };

class TenantStore {
  /** The state of the newest checkpoint, and what the log has behind it: side by side for different tenants. */
  static async open(directory) {
    mkdirSync(directory, { recursive: true });
    const wal = await WalManager.open(join(directory, 'log'), { segmentSize: 64 * 1024, compression: 'gzip' });
    const store = new TenantStore(directory, wal);
    const checkpoint = wal.checkpoints().at(-1);
    store.tenants = store.load(checkpoint);
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
    const name = `state-${sequence}.json`;
    writeWhole(join(this.directory, name), JSON.stringify(toJson(this.tenants)));
    await this.wal.createCheckpoint({ sequence, data: name });
  }

  /** All tenants as they were at `date`, by the newest checkpoint before and the log from there. Changes nothing. */
  async asOf(date) {
    const checkpoint = this.wal.checkpoints().findLast(({ timestamp }) => timestamp <= date.getTime());
    const tenants = this.load(checkpoint);
    await this.wal.replay(checkpoint, (record) => apply(tenants, record), { until: date });
    return toJson(tenants);
  }

  toJSON() {
    return toJson(this.tenants);
  }

  close() {
    return this.wal.close();
  }

  load(checkpoint) {
    const name = checkpoint?.data?.toString();
    const tenants = name === undefined ? [] : JSON.parse(readFileSync(join(this.directory, name), 'utf8'));
    return new Map(tenants.map(([tenant, entries]) => [tenant, new Map(entries)]));
  }
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
