// One trial, in a process of its own: node bench/trial.mjs <suite> <options as JSON> <directory>. Tells its parent, or
// whoever started it by hand.
import { tellResult } from './tell-result.mjs';

const [suite, options, directory] = process.argv.slice(2);
const { trials } = await import(`./suites/${suite}.mjs`);
const { trial, ...rest } = JSON.parse(options);
tellResult(await trials[trial](rest, directory));
