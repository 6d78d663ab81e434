// node bench/first-touch.mjs [MiB] [pauses, s …]: how fast this machine makes memory ready, the first time and again.
//
// One process after another takes so much fresh memory and stores one byte into each page, which makes the kernel find a
// page and zero it. Between the processes there is a pause. Where the pause makes no difference, that is all there is to
// it. On a virtual machine that hands free memory back to its host (free page reporting, a balloon) the page has to come
// from the host again after a while, and that costs many times as much. A log needs a new page every 4 KiB.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { setTimeout } from 'node:timers/promises';

const here = fileURLToPath(import.meta.url);
const pageBytes = 4096;

if (process.argv[2] === 'child') touch(Number(process.argv[3]));
else await parent(Number(process.argv[2] ?? 512), process.argv.slice(3).map(Number));

function touch(mebibytes) {
  const memory = Buffer.allocUnsafeSlow(mebibytes * 2 ** 20);
  const rounds = ['the first time', 'when it is there'].map((what) => {
    const cpu = process.cpuUsage();
    const begin = performance.now();
    for (let at = 0; at < memory.length; at += pageBytes) memory[at] = what.length;
    const rate = memory.length / (performance.now() - begin) / 1e6;
    const { user, system } = process.cpuUsage(cpu);
    const each = (user + system) / (memory.length / pageBytes);
    return `${rate.toFixed(2)} GB/s ${what} (${each.toFixed(2)} µs of processor time a page)`;
  });
  console.log(rounds.join(', '));
}

async function parent(mebibytes, pauses) {
  for (const pause of [0, ...(pauses.length > 0 ? pauses : [0, 0, 5, 0, 20, 0])]) {
    await setTimeout(pause * 1000);
    const { stdout } = spawnSync(process.execPath, [here, 'child', String(mebibytes)], { encoding: 'utf8' });
    process.stdout.write(`after ${String(pause).padStart(3)} s: ${stdout}`);
  }
}
