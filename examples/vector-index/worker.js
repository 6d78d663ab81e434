// A worker that keeps a vector index in memory, and everything that happened to it in a log.
const { Operation, WalManager } = require('segwal');

const { VectorIndex } = require('./index');

/** Vectors as their bytes. Those of a record may lie anywhere in memory, so they are read one by one. */
const codec = {
  encode: (vector) => Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength),
  decode: (data) => Float32Array.from({ length: data.length / 4 }, (_, i) => data.readFloatLE(4 * i)),
};
const noVector = new Float32Array(0);

class VectorWorker {
  /** With `enableWal` the index comes back after a crash; without, it begins empty, and nothing else is different. */
  static async start({ directory, dimensions, enableWal }) {
    const options = { enabled: enableWal, codec, segmentSize: 1024 * 1024, sync: { policy: 'async', maxDelay: 1000 } };
    const worker = new VectorWorker(await WalManager.open(directory, options), new VectorIndex(dimensions));
    await worker.wal.replay(undefined, (record) => worker.apply(record));
    return worker;
  }

  constructor(wal, index) {
    this.wal = wal;
    this.index = index;
  }

  /** First into the log, then into the index: what a search has found once is found again after a crash. */
  insert(id, vector) {
    this.check(vector);
    this.wal.append(vector, { kind: Operation.Insert, key: id });
    this.index.insert(id, vector);
  }

  delete(id) {
    this.wal.append(noVector, { kind: Operation.Delete, key: id });
    this.index.delete(id);
  }

  /** `[{ id, vector }]`, without a vector to delete: all of it survives a crash, or nothing. */
  batch(operations) {
    for (const { vector } of operations) if (vector !== undefined) this.check(vector);
    this.wal.appendBatch(
      operations.map(({ id, vector }) => ({
        data: vector ?? noVector,
        kind: vector === undefined ? Operation.Delete : Operation.Insert,
        key: id,
      })),
    );
    for (const { id, vector } of operations) {
      if (vector === undefined) this.index.delete(id);
      else this.index.insert(id, vector);
    }
  }

  search(query, count) {
    return this.index.search(query, count);
  }

  /** Everything so far survives power loss when this resolves; the number says up to where. */
  processFlush() {
    return this.wal.sync();
  }

  stop() {
    return this.wal.close();
  }

  apply({ kind, key, data }) {
    if (kind === Operation.Delete) this.index.delete(key.toString());
    else this.index.insert(key.toString(), data);
  }

  /** Before anything is in the log: what cannot be applied must not be there. */
  check(vector) {
    if (vector.length !== this.index.dimensions) {
      throw new RangeError(`the vector has ${vector.length} dimensions, the index ${this.index.dimensions}`);
    }
  }
}

module.exports = { VectorWorker };
