// One trial, in a process of its own: node bench/trial.mjs <suite> <options as JSON> <directory>. Tells its parent.
const [suite, options, directory] = process.argv.slice(2);
const { trials } = await import(`./suites/${suite}.mjs`);
const { trial, ...rest } = JSON.parse(options);
const result = await trials[trial](rest, directory);
const { userCPUTime, systemCPUTime } = process.resourceUsage();
process.send({ ...result, cpuMs: (userCPUTime + systemCPUTime) / 1000 }, () => process.disconnect());
