// The shape of a file of results, and whether one has it.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import Ajv2020 from 'ajv/dist/2020.js';

const schema = JSON.parse(readFileSync(join(import.meta.dirname, 'results.schema.json'), 'utf8'));
const validate = new Ajv2020({ allErrors: true, allowUnionTypes: true }).compile(schema);

export const schemaVersion = schema.properties.schema.const;

/** Throws when `document` is not what results.schema.json says, or a chart has nothing to show, or is not there. */
export function checkResults(document, name = 'the results') {
  if (!validate(document)) {
    const complaints = validate.errors.map(({ instancePath, message }) => `${instancePath || '/'} ${message}`);
    throw new Error(`${name} do not have the shape of results.schema.json:\n${complaints.join('\n')}`);
  }
  const charts = new Set(document.charts.map(({ id }) => id));
  const plotted = new Set([
    ...document.results.flatMap(({ plot }) => (plot ? [plot.chart] : [])),
    ...document.curves.map(({ chart }) => chart),
  ]);
  const strange = [...plotted].filter((chart) => !charts.has(chart));
  if (strange.length > 0) throw new Error(`${name} have no chart ${strange.join(', ')}`);
  const empty = [...charts].filter((chart) => !plotted.has(chart));
  if (empty.length > 0) throw new Error(`${name} have nothing for the chart ${empty.join(', ')}`);
}

/** Each flame graph is one line: so deep a tree would be little but indentation. */
export function writeResults(path, { flames, ...rest }) {
  const text = JSON.stringify(rest, null, 1);
  const lines = flames?.map((flame) => `\n  ${JSON.stringify(flame)}`);
  writeFileSync(path, lines === undefined ? text : `${text.slice(0, -2)},\n "flames": [${lines.join(',')}\n ]\n}`);
}

export function readResults(path) {
  const document = JSON.parse(readFileSync(path, 'utf8'));
  checkResults(document, path);
  return document;
}
