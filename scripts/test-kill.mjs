// `npm run test:kill -- --kills 5000 --seed 1`: test/crash.test.ts for as long as one likes.
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { kills: { type: 'string', default: '2000' }, seed: { type: 'string' } } });
process.env.SEGWAL_KILLS = values.kills;
if (values.seed !== undefined) process.env.SEGWAL_SEED = values.seed;
const { status } = spawnSync('npx', ['jest', 'test/crash.test.ts'], { stdio: 'inherit' });
process.exitCode = status ?? 1;
