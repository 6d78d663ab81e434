// node scripts/count-tests.mjs <failed steps> <result files…>: prints "N passed, N failed" over the result files of jest
// (--json) and ctest (--output-junit). A suite that could not start is one failure; steps that failed without a failed
// test (and may have left no result file) keep the line from saying 0.
import { existsSync, readFileSync } from 'node:fs';

const [failedSteps, ...paths] = process.argv.slice(2);
let passed = 0;
let failed = 0;
for (const path of paths.filter((path) => existsSync(path))) {
  const text = readFileSync(path, 'utf8');
  if (path.endsWith('.json')) {
    const results = JSON.parse(text);
    passed += results.numPassedTests;
    failed += results.numFailedTests + results.numRuntimeErrorTestSuites;
  } else {
    const count = (name) => Number(new RegExp(`<testsuite[^>]*\\s${name}="(\\d+)"`).exec(text)[1]);
    passed += count('tests') - count('failures') - count('disabled') - count('skipped');
    failed += count('failures');
  }
}
console.log(`${passed} passed, ${Math.max(failed, Number(failedSteps))} failed`);
