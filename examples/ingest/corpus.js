// The input: public data that nobody here made up. Every table among the data sets of the npm package vega-datasets
// (flights, bird strikes, species, zip codes, weather, films, ...), in the order of their names.
const { readdirSync, readFileSync } = require('node:fs');
const { dirname, extname, join } = require('node:path');

const dataFolder = join(dirname(dirname(require.resolve('vega-datasets'))), 'data');

/** All records as they are to be appended: `data` is a JSON object or a row of CSV or TSV, `key` the name of its data set. */
function loadCorpus() {
  return readdirSync(dataFolder)
    .sort()
    .flatMap((file) =>
      rowsOf(join(dataFolder, file)).map((row) => ({ key: Buffer.from(file), data: Buffer.from(row) })),
    );
}

function rowsOf(path) {
  const rows = { '.json': jsonRows, '.csv': lines, '.tsv': lines }[extname(path)];
  return rows === undefined ? [] : rows(readFileSync(path, 'utf8'));
}

/** Only what is a table: maps and graphs are objects. */
function jsonRows(text) {
  const table = JSON.parse(text);
  return Array.isArray(table) ? table.map((row) => JSON.stringify(row)) : [];
}

function lines(text) {
  return text.split(/\r?\n/).filter((line) => line !== '');
}

module.exports = { loadCorpus };
