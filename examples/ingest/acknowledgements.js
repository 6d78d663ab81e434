// What has been appended, told by a way that has nothing to do with the log: a file that grows by one number with every
// call that has returned. write() leaves it to the operating system before it returns, so it too outlives a SIGKILL.
const { closeSync, existsSync, fstatSync, openSync, readSync, writeSync } = require('node:fs');

const entryBytes = 8;

class AcknowledgementWriter {
  constructor(path) {
    this.file = openSync(path, 'a');
    this.entry = Buffer.alloc(entryBytes);
  }

  /** REQUIRES: the call that appended `sequence` has returned. */
  write(sequence) {
    this.entry.writeDoubleLE(sequence);
    writeSync(this.file, this.entry);
  }
}

/** The last sequence number in the file; 0 when there is none. */
function lastAcknowledged(path) {
  if (!existsSync(path)) return 0;
  const file = openSync(path, 'r');
  try {
    const entries = Math.floor(fstatSync(file).size / entryBytes);
    if (entries === 0) return 0;
    const entry = Buffer.alloc(entryBytes);
    readSync(file, entry, 0, entryBytes, (entries - 1) * entryBytes);
    return entry.readDoubleLE();
  } finally {
    closeSync(file);
  }
}

module.exports = { AcknowledgementWriter, lastAcknowledged };
