// One trial, in a process of its own: node bench/trial.mjs <suite> <options as JSON> <directory>. Tells its parent, or
// whoever started it by hand.
const [suite, options, directory] = process.argv.slice(2);
const { trials } = await import(`./suites/${suite}.mjs`);
const { trial, ...rest } = JSON.parse(options);
const measured = await trials[trial](rest, directory);
const { userCPUTime, systemCPUTime } = process.resourceUsage();
const result = { ...measured, cpuMs: (userCPUTime + systemCPUTime) / 1000 };
if (process.send) process.send(result, () => process.disconnect());
else console.log(result);
