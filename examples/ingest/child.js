// The process that is killed: appends the corpus to the log in argv[2] and acknowledges every call in the file argv[3].
const { WalManager } = require('segwal');

const { AcknowledgementWriter } = require('./acknowledgements');
const { appendNext } = require('./append');
const { loadCorpus } = require('./corpus');
const { segmentSize } = require('./options');

async function main([directory, acknowledgementsPath]) {
  const records = loadCorpus();
  const wal = await WalManager.open(directory, { segmentSize });
  const acknowledgements = new AcknowledgementWriter(acknowledgementsPath);
  for (let last = 0; last < records.length;) {
    last = appendNext(wal, records, last);
    acknowledgements.write(last);
  }
}

// Should it get as far as the end: the log stays open until the kill, or until the parent is gone.
process.once('disconnect', () => process.exit());
main(process.argv.slice(2));
