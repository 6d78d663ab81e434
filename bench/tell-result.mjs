/** The last act of a trial: what it measured, and what it cost the processors. */
export function tellResult(measured) {
  const { userCPUTime, systemCPUTime } = process.resourceUsage();
  const result = { ...measured, cpuMs: (userCPUTime + systemCPUTime) / 1000 };
  if (process.send) process.send(result, () => process.disconnect());
  else console.dir(result, { depth: 4, maxArrayLength: 20 });
}
