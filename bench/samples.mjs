// What is appended.

/** Different records in turn, so that no cache and no branch predictor knows them by heart. */
export function sampleBuffers(bytes) {
  return Array.from({ length: 1024 }, (_, i) => Buffer.from(sampleText(i, bytes)));
}

export function sampleStrings(bytes) {
  return Array.from({ length: 1024 }, (_, i) => sampleText(i, bytes));
}

export function packedRecords(count, bytes) {
  const buffer = Buffer.concat(Array.from({ length: count }, (_, i) => Buffer.from(sampleText(i, bytes))));
  const offsets = Uint32Array.from({ length: count + 1 }, (_, i) => i * bytes);
  return { buffer, offsets };
}

function sampleText(seed, bytes) {
  let text = '';
  for (let state = seed + 1; text.length < bytes;) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    text += state.toString(36);
  }
  // A flat string, not the tree that was added up.
  return Buffer.from(text.slice(0, bytes)).toString('latin1');
}
