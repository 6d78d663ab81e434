// What a Node.js service could use instead, each in the way that its own documentation calls the fastest for many small
// records that only come in at the end, and what it promises when used so. `sequence` is the key where one is needed.
//
// `append(directory, records, keepOn)` hands over record after record while `keepOn(count)` is true, and returns how many
// when all have left the process: the clock stops then. `durable(directory, records, run)` is for workloads in which each
// record is durable before it counts: it calls `run(start)` with a function that starts one write and returns its
// promise, or `run.together(write)` with one that takes as many records as are to be in flight and blocks until they are.
import { closeSync, fdatasyncSync, ftruncateSync, openSync, writeSync, writevSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';

const require = createRequire(import.meta.url);
const perBatch = 1000;

const batchOf = (records, from, count = perBatch) =>
  Array.from({ length: count }, (_, i) => records[(from + i) & 1023]);

export const peers = {
  'fs.writeSync': {
    guarantee: 'survives the death of the process; no checksum, torn tails go unnoticed. Durable: writev and fdatasync',
    append(directory, records, keepOn) {
      const file = openSync(join(directory, 'file'), 'w');
      let count = 0;
      while (keepOn(count)) writeSync(file, records[count++ & 1023]);
      closeSync(file);
      return count;
    },
    async durable(directory, records, run) {
      const file = openSync(join(directory, 'file'), 'w');
      await run.together((from, count) => {
        writevSync(file, batchOf(records, from, count));
        fdatasyncSync(file);
      });
      closeSync(file);
    },
  },

  FileHandle: {
    guarantee: 'as fs.writeSync; 1,000 records for each writev. Durable: writev and datasync of all that are in flight',
    async append(directory, records, keepOn) {
      const file = await open(join(directory, 'file'), 'w');
      let count = 0;
      for (; keepOn(count); count += perBatch) await file.writev(batchOf(records, count));
      await file.close();
      return count;
    },
    async durable(directory, records, run) {
      const file = await open(join(directory, 'file'), 'w');
      await run.together(async (from, count) => {
        await file.writev(batchOf(records, from, count));
        await file.datasync();
      });
      await file.close();
    },
  },

  'sonic-boom': {
    package: 'sonic-boom',
    guarantee: 'none: up to 64 KiB wait in the process, and die with it',
    async append(directory, records, keepOn) {
      const { SonicBoom } = require('sonic-boom');
      // With strings it counts the bytes of its whole buffer again for each one.
      const buffers = { contentMode: 'buffer', minLength: 65536, maxWrite: 262144, sync: true };
      const stream = new SonicBoom({ dest: join(directory, 'file'), ...buffers });
      let count = 0;
      while (keepOn(count)) stream.write(records[count++ & 1023]);
      stream.end();
      await once(stream, 'close');
      return count;
    },
  },

  lmdb: {
    package: 'lmdb',
    guarantee:
      'transactions survive the death of the process once committed; appended here with noSync. Durable: its default',
    async append(directory, records, keepOn) {
      const db = openLmdb(directory, { noSync: true });
      let count = 0;
      while (keepOn(count)) {
        let last;
        for (let i = 0; i < 10 * perBatch; i++) last = db.put(++count, records[count & 1023]);
        await last;
      }
      await db.close();
      return count;
    },
    async durable(directory, records, run) {
      // Not the promise of the commit, which by default says what readers see, but that of its sync.
      const db = openLmdb(directory, { separateFlushed: true });
      await run((i) => db.put(i + 1, records[i & 1023]).flushed);
      await db.close();
    },
  },

  'better-sqlite3, NORMAL': {
    package: 'better-sqlite3',
    guarantee: 'WAL: 1,000 a transaction; survives the death of the process, and power loss up to the last checkpoint',
    append: (directory, records, keepOn) => appendToSqlite(directory, 'NORMAL', records, keepOn),
  },

  'better-sqlite3, FULL': {
    package: 'better-sqlite3',
    guarantee: 'WAL: 1,000 a transaction, or all that are in flight; a committed transaction is durable',
    append: (directory, records, keepOn) => appendToSqlite(directory, 'FULL', records, keepOn),
    async durable(directory, records, run) {
      const { insertMany, close } = openSqlite(directory, 'FULL', records);
      await run.together(insertMany);
      close();
    },
  },

  'classic-level': {
    package: 'classic-level',
    guarantee:
      '1,000 a batch; survives the death of the process. Durable: sync: true, a batch of all that are in flight',
    async append(directory, records, keepOn) {
      const db = await openLevel(directory);
      let count = 0;
      for (; keepOn(count); count += perBatch) await db.batch(puts(records, count, perBatch));
      await db.close();
      return count;
    },
    async durable(directory, records, run) {
      const db = await openLevel(directory);
      await run.together((from, count) => db.batch(puts(records, from, count), { sync: true }));
      await db.close();
    },
  },

  'async-append-only-log': {
    package: 'async-append-only-log',
    guarantee: 'none before its onDrain: blocks of 64 KiB wait in the process; never synced',
    async append(directory, records, keepOn) {
      const log = require('async-append-only-log')(join(directory, 'file'), { blockSize: 65536, writeTimeout: 1 });
      const drained = () => new Promise((resolve) => log.onDrain(resolve));
      const ignore = () => {};
      let count = 0;
      while (keepOn(count)) {
        for (let i = 0; i < 10 * perBatch; i++) log.append(records[count++ & 1023], ignore);
        await drained();
      }
      await new Promise((resolve) => log.close(resolve));
      return count;
    },
  },

  '@riaskov/mmap-io': {
    package: '@riaskov/mmap-io',
    guarantee: 'with length and CRC-32 before each record: survives the death of the process; never synced',
    append(directory, records, keepOn) {
      const mmap = require('@riaskov/mmap-io').default ?? require('@riaskov/mmap-io');
      const fileBytes = 64 * 2 ** 20;
      const frame = 8 + records[0].length;
      let count = 0;
      for (let files = 0; keepOn(count); files++) {
        const file = openSync(join(directory, `file-${files}`), 'w+');
        ftruncateSync(file, fileBytes);
        const memory = mmap.map(fileBytes, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, file);
        for (let at = 0; at + frame <= fileBytes && keepOn(count); at += frame, count++) {
          const record = records[count & 1023];
          memory.set(record, at + 8);
          memory.writeUInt32LE(crc32(record), at + 4);
          memory.writeUInt32LE(record.length, at);
        }
        closeSync(file);
      }
      return count;
    },
  },
};

function openLmdb(directory, options = {}) {
  const { open: openDb } = require('lmdb');
  const path = join(directory, 'lmdb');
  return openDb({ path, encoding: 'binary', keyEncoding: 'uint32', compression: false, ...options });
}

function openSqlite(directory, synchronous, records) {
  const db = new (require('better-sqlite3'))(join(directory, 'db'));
  db.pragma('journal_mode = WAL');
  db.pragma(`synchronous = ${synchronous}`);
  db.exec('CREATE TABLE log (sequence INTEGER PRIMARY KEY, data BLOB NOT NULL)');
  const insert = db.prepare('INSERT INTO log VALUES (?, ?)');
  const insertMany = db.transaction((from, count) => {
    for (let i = from; i < from + count; i++) insert.run(i + 1, records[i & 1023]);
  });
  return { insertMany, close: () => db.close() };
}

function appendToSqlite(directory, synchronous, records, keepOn) {
  const { insertMany, close } = openSqlite(directory, synchronous, records);
  let count = 0;
  for (; keepOn(count); count += perBatch) insertMany(count, perBatch);
  close();
  return count;
}

async function openLevel(directory) {
  const { ClassicLevel } = require('classic-level');
  const db = new ClassicLevel(join(directory, 'level'), {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    compression: false,
  });
  await db.open();
  return db;
}

function puts(records, from, count) {
  return Array.from({ length: count }, (_, i) => {
    const key = Buffer.alloc(8);
    key.writeUInt32BE(from + i, 4);
    return { type: 'put', key, value: records[(from + i) & 1023] };
  });
}
