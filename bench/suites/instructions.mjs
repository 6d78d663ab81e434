// How many instructions one record takes, counted by callgrind: the same on a busy machine. Those of all threads but of the
// kernel.
import { hasValgrind, instructionsOf, ways } from '../instructions.mjs';

export function cases({ scale }) {
  if (scale < 1) return skip('it takes minutes');
  if (!hasValgrind()) return skip('valgrind is not installed');
  return Object.keys(ways).map((way) => ({
    name: `instructions, ${way}`,
    once: true,
    contenders: { [way.startsWith('raw') ? 'raw' : 'segwal']: { trial: 'count', way } },
    measures: [
      { of: 'together', unit: 'instructions a record', better: 'less' },
      { of: 'segwal.node, or the raw addon', key: 'addon', unit: 'instructions a record', better: 'less' },
    ],
  }));
}

function skip(why) {
  console.log(`instructions are not counted: ${why}`);
  return [];
}

export const trials = {
  count({ way }, directory) {
    const counts = instructionsOf(way, directory);
    const objects = Object.entries(counts).filter(([name]) => !/^segwal\S* /.test(name));
    const sum = (entries) => entries.reduce((total, [, instructions]) => total + instructions, 0);
    return {
      value: sum(objects),
      more: { addon: sum(objects.filter(([name]) => name.startsWith('segwal'))) },
      details: Object.fromEntries(objects.map(([name, instructions]) => [name, Math.round(instructions)])),
    };
  },
};
