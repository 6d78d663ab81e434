// The log of a cache of slices: what was written to files and has not all been uploaded yet.
//
// A slice is a stretch of a chunk of a file. It is pending when it was written, and uploaded when its bytes are blocks of
// the store. A record is a slice, its state in the kind, its file's handle as the key:
//
//   Insert  pending:  head, data
//   Update  uploaded: head, names of blocks as JSON
//   Delete  the file is removed, with all slices that it had so far
//
// The head: u32 chunk index, u32 offset in the chunk, u64 slice id.
const { Operation, WalManager } = require('segwal');

const headBytes = 16;

class Persister {
  /**
   * A mapped persister; with `enabled: false` a null one, of which nothing survives: it is the same class over a log that
   * stores nothing.
   */
  static async open(directory, { enabled = true } = {}) {
    return new Persister(await WalManager.open(directory, { enabled, segmentSize: 1024 * 1024, sync: 'batch' }));
  }

  constructor(wal) {
    this.wal = wal;
  }

  isEnabled() {
    return this.wal.enabled;
  }

  /**
   * A slice: `{ handle, chunkIndex, sliceId, offset, state, data, blocks }`. When this has returned, it survives the death
   * of the process. Returns its place in the log.
   */
  appendSlice(slice) {
    return this.appendSlices([slice]);
  }

  /** Several at once: all of them survive, or none. */
  appendSlices(slices) {
    return this.wal.appendBatch(slices.map(toRecord));
  }

  /** All slices that the file has so far are of no use any more. */
  appendRemove(handle) {
    return this.wal.append('', { kind: Operation.Delete, key: String(handle) });
  }

  /** Everything so far survives power loss. */
  sync() {
    return this.wal.sync();
  }

  /**
   * What the log says: the slices of files that were not removed, in the order in which they were written, as they are now.
   */
  async recover() {
    const slices = new Map();
    await this.wal.replay(undefined, ({ kind, key, data }) => {
      const handle = Number(key);
      if (kind === Operation.Delete) {
        for (const [id, slice] of slices) if (slice.handle === handle) slices.delete(id);
        return;
      }
      const slice = readHead(handle, data);
      const body = data.subarray(headBytes);
      if (kind === Operation.Insert) {
        slices.set(slice.sliceId, { ...slice, state: 'pending', data: Buffer.from(body), blocks: [] });
      } else {
        const blocks = JSON.parse(body.toString());
        slices.set(slice.sliceId, { ...slice, state: 'uploaded', data: null, blocks });
      }
    });
    return [...slices.values()];
  }

  close() {
    return this.wal.close();
  }
}

function toRecord({ handle, chunkIndex, sliceId, offset, state, data, blocks }) {
  const head = Buffer.alloc(headBytes);
  head.writeUInt32LE(chunkIndex, 0);
  head.writeUInt32LE(offset, 4);
  head.writeBigUInt64LE(BigInt(sliceId), 8);
  const uploaded = state === 'uploaded';
  const body = uploaded ? Buffer.from(JSON.stringify(blocks)) : data;
  const kind = uploaded ? Operation.Update : Operation.Insert;
  return { data: Buffer.concat([head, body]), kind, key: String(handle) };
}

function readHead(handle, data) {
  return {
    handle,
    chunkIndex: data.readUInt32LE(0),
    offset: data.readUInt32LE(4),
    sliceId: Number(data.readBigUInt64LE(8)),
  };
}

module.exports = { Persister };
