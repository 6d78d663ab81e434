// Compares the log with the corpus, byte for byte.
const { nextStop } = require('./append');

/**
 * @param acknowledged - every record up to this one must be there. Of the call that the kill may have met, the one after
 * that, all records may be there or none.
 * @returns how many records are `lost` (acknowledged, and not there as they were) and `invented` (there, and not
 * appended, or not like that, or half a batch), and how many there are.
 */
function check(wal, records, acknowledged) {
  let found = 0;
  let last = 0;
  let intact = 0; // of the acknowledged ones
  let invented = 0;
  for (const record of wal.read()) {
    found += 1;
    const wanted = records[record.sequence - 1];
    const right = record.sequence > last && wanted !== undefined && isSame(record, wanted);
    if (!right) invented += 1;
    else if (record.sequence <= acknowledged) intact += 1;
    last = record.sequence;
  }
  const inFlight = last - acknowledged;
  if (inFlight > 0 && last !== nextStop(acknowledged, records.length)) invented += inFlight;
  return { found, lost: acknowledged - intact, invented };
}

function isSame(record, { key, data }) {
  return record.kind === 0 && record.key !== null && key.equals(record.key) && data.equals(record.data);
}

module.exports = { check };
