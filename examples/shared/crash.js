// A process that is killed in the middle of its work, and what it had said by then.
const { spawn } = require('node:child_process');
const { once } = require('node:events');

/**
 * Runs `script` and kills it with SIGKILL as soon as it has printed `count` lines. Returns all the lines that it printed:
 * what it had done before it died, for it prints a line after each thing that it does.
 */
async function runAndKill(script, args, count) {
  const child = spawn(process.execPath, [script, ...args.map(String)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  let lines = 0;
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
    lines += text.split('\n').length - 1;
    if (lines >= count) child.kill('SIGKILL');
  });
  const [status, signal] = await once(child, 'close');
  if (signal !== 'SIGKILL') throw new Error(`${script} ended by itself, with status ${status}, before it was killed`);
  return output.split('\n').slice(0, -1);
}

module.exports = { runAndKill };
