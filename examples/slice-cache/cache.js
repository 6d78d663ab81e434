// A cache of what clients write to files: acknowledged when it is in the log, uploaded to a store of blocks later.
const { createHash } = require('node:crypto');
const { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');

const { Persister } = require('./persister');

const blockBytes = 4096;
const chunkBytes = 64 * 1024;

/** Stands for an object store: a file for each block, named by its content. */
class BlockStore {
  constructor(directory) {
    this.directory = directory;
    mkdirSync(directory, { recursive: true });
  }

  put(block) {
    const name = createHash('sha256').update(block).digest('hex');
    const path = join(this.directory, name);
    if (!existsSync(path)) {
      writeFileSync(`${path}.part`, block);
      renameSync(`${path}.part`, path);
    }
    return name;
  }

  get(name) {
    return readFileSync(join(this.directory, name));
  }
}

class SliceCache {
  /** Takes up what the log has: drops what was removed, and uploads what was pending. */
  static async open(directory, options) {
    const cache = new SliceCache(await Persister.open(join(directory, 'log'), options), join(directory, 'blocks'));
    for (const slice of await cache.persister.recover()) cache.adopt(slice);
    cache.recovered = { slices: cache.slices.length, pending: cache.pending().length };
    await cache.flush();
    return cache;
  }

  constructor(persister, blocks) {
    this.persister = persister;
    this.store = new BlockStore(blocks);
    this.slices = []; // in the order in which they were written: the later ones lie on top
    this.nextId = 1;
  }

  /**
   * Acknowledged, to the client, when this has returned. A write that crosses chunks is a slice in each of them, and one
   * batch in the log: no crash leaves half of it.
   */
  write(handle, position, data) {
    const slices = [];
    for (let done = 0; done < data.length;) {
      const chunkIndex = Math.floor((position + done) / chunkBytes);
      const offset = (position + done) % chunkBytes;
      const part = Buffer.from(data.subarray(done, done + chunkBytes - offset));
      const sliceId = this.nextId + slices.length;
      slices.push({ handle, chunkIndex, offset, sliceId, state: 'pending', data: part, blocks: [] });
      done += part.length;
    }
    this.persister.appendSlices(slices);
    for (const slice of slices) this.adopt(slice);
  }

  remove(handle) {
    this.persister.appendRemove(handle);
    this.slices = this.slices.filter((slice) => slice.handle !== handle);
  }

  read(handle) {
    const slices = this.slices.filter((slice) => slice.handle === handle);
    let file = Buffer.alloc(0);
    for (const slice of slices) {
      const at = slice.chunkIndex * chunkBytes + slice.offset;
      const data = slice.data ?? Buffer.concat(slice.blocks.map((name) => this.store.get(name)));
      if (file.length < at + data.length) file = Buffer.concat([file, Buffer.alloc(at + data.length - file.length)]);
      data.copy(file, at);
    }
    return file;
  }

  /** The store has everything when this resolves, and the log says so. */
  async flush() {
    for (const slice of this.pending()) {
      const blocks = [];
      for (let at = 0; at < slice.data.length; at += blockBytes) {
        blocks.push(this.store.put(slice.data.subarray(at, at + blockBytes)));
      }
      Object.assign(slice, { state: 'uploaded', data: null, blocks });
      this.persister.appendSlice(slice);
    }
    await this.persister.sync();
  }

  pending() {
    return this.slices.filter(({ state }) => state === 'pending');
  }

  get handles() {
    return [...new Set(this.slices.map(({ handle }) => handle))].sort((a, b) => a - b);
  }

  close() {
    return this.persister.close();
  }

  adopt(slice) {
    this.slices.push(slice);
    this.nextId = Math.max(this.nextId, slice.sliceId + 1);
  }
}

module.exports = { SliceCache };
