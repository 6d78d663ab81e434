// How the corpus goes into the log: of every 300 records 200 one at a time, then 100 as one batch. Record number n of
// the corpus gets sequence number n, so the log itself knows where to go on.

const single = 200;
const cycle = 300;

/** The sequence number up to which the next call goes when the log ends at `last`. */
function nextStop(last, total) {
  const place = last % cycle;
  return Math.min(total, place < single ? last + 1 : last - place + cycle);
}

/** Makes one call, and returns the sequence number of the last record that it appended, by the log's own account. */
function appendNext(wal, records, last) {
  const stop = nextStop(last, records.length);
  if (stop === last + 1) return wal.append(records[last].data, { key: records[last].key });
  const first = wal.appendBatch(records.slice(last, stop));
  return first + (stop - last) - 1;
}

module.exports = { appendNext, nextStop };
