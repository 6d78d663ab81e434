// A file that is there whole or not at all, also after a power cut.
const { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } = require('node:fs');
const { dirname } = require('node:path');

function syncPath(path) {
  const file = openSync(path, 'r');
  fsyncSync(file);
  closeSync(file);
}

function writeWhole(path, text) {
  const part = `${path}.part`;
  const file = openSync(part, 'w');
  writeSync(file, text);
  fsyncSync(file);
  closeSync(file);
  renameSync(part, path);
  if (process.platform !== 'win32') syncPath(dirname(path));
}

function removeFile(path) {
  rmSync(path, { force: true });
}

module.exports = { removeFile, writeWhole };
