import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { useLogs } from './helpers/logs';
import { canInterrupt, runCli, startChild, startCli } from './helpers/processes';
import { appendSegments, plain, texts } from './helpers/records';

const logs = useLogs();
const interruptible = canInterrupt ? test : test.skip;

interface Line {
  sequence: number;
  time: string;
  kind: number;
  key: string | null;
  keyEncoding?: string;
  data: string;
  encoding: string;
}

function parseLines(output: string): Line[] {
  return output
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);
}

function file(name: string, content: string | Buffer): string {
  const path = join(logs.directory, name);
  writeFileSync(path, content);
  return path;
}

/** Changes a byte of the first segment. */
function damage(text: string): void {
  const path = join(logs.path, 'segments', 'wal-000001.log');
  const bytes = readFileSync(path);
  const offset = bytes.indexOf(text);
  bytes[offset]! ^= 0xff;
  writeFileSync(path, bytes);
}

describe('segwal', () => {
  test('--help lists the commands and the exit codes', async () => {
    for (const args of [['--help'], ['-h'], ['help']]) {
      const { status, stdout } = await runCli(args);
      expect(status).toBe(0);
      for (const word of [
        'ingest',
        'inspect',
        'dump',
        'verify',
        'repair',
        'tail',
        'checkpoint',
        'Exit status',
        '130',
      ]) {
        expect(stdout).toContain(word);
      }
    }
  });

  test.each(['ingest', 'inspect', 'dump', 'verify', 'repair', 'tail', 'checkpoint', 'truncate', 'cleanup', 'compact'])(
    '%s --help tells of the command',
    async (command) => {
      const { status, stdout } = await runCli([command, '--help']);
      expect(status).toBe(0);
      expect(stdout).toMatch(new RegExp(`^Usage: segwal ${command} <dir>`));
      expect(await runCli(['help', command])).toMatchObject({ status: 0, stdout });
    },
  );

  test('--version is that of the package', async () => {
    const { version } = JSON.parse(readFileSync(join(__dirname, '..', 'package.json'), 'utf8')) as { version: string };
    expect(await runCli(['--version'])).toMatchObject({ status: 0, stdout: `${version}\n` });
  });

  const mistakes: [string[], RegExp][] = [
    [[], /which command\?/],
    [['dmup'], /no command 'dmup'; did you mean dump\?/],
    [['constructor'], /no command 'constructor'/],
    [['dump'], /the directory of the log is missing/],
    [['dump', 'a', 'b'], /too many arguments: 'b'/],
    [['dump', 'a', '--form', '1'], /'--form'/],
    [['dump', 'a', '--from', 'x'], /--from must be an integer of at least 1, not 'x'/],
    [['dump', 'a', '--from', '0'], /--from must be an integer of at least 1, not '0'/],
    [['dump', 'a', '--kind', '256'], /--kind must be an integer from 0 to 255/],
    [['dump', 'a', '--from-time', 'noon'], /--from-time must be a time/],
    [['tail', 'a', '-n', '-1'], /-n/],
    [['ingest', 'a', '--sync', 'always'], /--sync must be one of none, async, end, batch, immediate, not 'always'/],
    [['truncate', 'a'], /give either --before or --after/],
    [['truncate', 'a', '--before', '1', '--after', '1'], /give either --before or --after/],
    [['ingest', 'a', '--key', 'id'], /--key must be a JSON pointer/],
    [['ingest', 'a', '--batch', '0'], /--batch must be an integer of at least 1/],
    [['ingest', 'a', '--segment-size', 'big'], /--segment-size must be a size/],
  ];
  test.each(mistakes)('%p is a mistake that it explains', async (args, message) => {
    const { status, stdout, stderr } = await runCli(args);
    expect(status).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^segwal: USAGE: [^\n]*--help\n$/);
    expect(stderr).toMatch(message);
  });

  test.each(['inspect', 'dump', 'verify', 'repair', 'tail', 'checkpoint'])(
    '%s of a log that is not there says so',
    async (command) => {
      const { status, stderr } = await runCli([command, logs.path]);
      expect(status).toBe(3);
      expect(stderr).toMatch(/^segwal: WAL_NOT_FOUND: [^\n]*\n$/);
    },
  );
});

describe('segwal ingest', () => {
  test('appends the lines of files, in order', async () => {
    const a = file('a.txt', 'one\ntwo\r\n\nthree');
    const b = file('b.txt', '\nfour\n\r\nfive \n');
    const { status, stdout, stderr } = await runCli(['ingest', logs.path, a, b]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^appended 5 records .* 1 to 5; durable\n$/);
    const wal = await logs.open();
    expect(texts(wal.read())).toEqual(['one', 'two', 'three', 'four', 'five ']);
  });

  test('appends the lines of standard input, whatever bytes they are', async () => {
    const lines = [Buffer.from('é水'), Buffer.of(0xff, 0, 0x80), Buffer.from(' ')];
    const input = Buffer.concat(lines.flatMap((line) => [line, Buffer.from('\n')]));
    expect((await runCli(['ingest', logs.path], input)).status).toBe(0);
    expect((await runCli(['ingest', logs.path, '-'], input)).status).toBe(0);
    const wal = await logs.open();
    expect(Array.from(wal.read(), ({ data }) => data)).toEqual([...lines, ...lines]);
  });

  test('appends no records of an empty input', async () => {
    const { status, stdout } = await runCli(['ingest', logs.path]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^appended 0 records .* none; durable\n$/);
  });

  test('appends lines that are longer than what it reads at a time', async () => {
    const long = 'x'.repeat(3_000_000);
    const path = file('long.txt', `a\n${long}\nb`);
    expect((await runCli(['ingest', logs.path, path])).status).toBe(0);
    expect(texts((await logs.open()).read())).toEqual(['a', long, 'b']);
  });

  test.each(['none', 'async', 'end', 'batch', 'immediate'])(
    'with --sync %s everything is durable at the end',
    async (mode) => {
      const input = Array.from({ length: 500 }, (_, i) => `line ${i}\n`).join('');
      const args = ['ingest', logs.path, '--sync', mode, '--batch', '64', '--segment-size', '64K'];
      expect((await runCli(args, input)).status).toBe(0);
      const wal = await logs.open({ readOnly: true });
      expect([wal.lastSequence, wal.durableSequence, wal.segmentSize]).toEqual([500, 500, 65_536]);
      expect(wal.recovery.clean).toBe(true);
    },
  );

  test('takes keys from JSON by a pointer', async () => {
    const lines = [
      '{"user":{"id":"u1"}}',
      '{"user":{"id":7}}',
      '{"user":{"id":true}}',
      '{"user":{"id":null}}',
      '{"user":{}}',
      '{"user":{"id":""}}',
      '5',
    ];
    const { status } = await runCli(['ingest', logs.path, '--key', '/user/id'], lines.join('\n'));
    expect(status).toBe(0);
    const wal = await logs.open();
    expect(Array.from(wal.read(), (record) => plain(record).key)).toEqual(['u1', '7', 'true', null, null, '', null]);
    expect(texts(wal.read())).toEqual(lines);
  });

  test.each([
    ['/a~1b/0', '{"a/b":["first"]}', 'first'],
    ['/m~0n', '{"m~n":"tilde"}', 'tilde'],
    ['/~01', '{"~1":"both"}', 'both'],
    ['/', '{"":"empty name"}', 'empty name'],
    ['', '"the whole"', 'the whole'],
    ['/list/length', '{"list":[1,2]}', null],
    ['/list/00', '{"list":[1,2]}', null],
    ['/toString', '{}', null],
  ])('the pointer %p takes from %s the key %p', async (pointer, line, key) => {
    expect((await runCli(['ingest', logs.path, '--key', pointer], line)).status).toBe(0);
    expect(plain((await logs.open()).get(1)!).key).toBe(key);
  });

  test('stops at a line that is not what it should be, and keeps what came before', async () => {
    const path = file('bad.ndjson', '{"a":1}\n\n{"a":2}\n{"a":\n{"a":4}\n');
    const { status, stdout, stderr } = await runCli(['ingest', logs.path, '--json', path]);
    expect(status).toBe(4);
    expect(stderr).toMatch(/^segwal: BAD_JSON: [^\n]*bad\.ndjson:4: [^\n]*\n$/);
    expect(stdout).toMatch(/^appended 2 records/);
    expect(texts((await logs.open()).read())).toEqual(['{"a":1}', '{"a":2}']);
  });

  test('refuses a key that is not a simple value', async () => {
    const { status, stderr } = await runCli(['ingest', logs.path, '--key', '/a'], '{"a":1}\n{"a":[]}\n');
    expect(status).toBe(4);
    expect(stderr).toBe('segwal: BAD_KEY: standard input:2: the value at /a is an array\n');
  });

  test('appends nothing when one of the files is not there', async () => {
    const a = file('a.txt', 'one');
    const { status, stderr } = await runCli(['ingest', logs.path, a, join(logs.directory, 'absent.txt')]);
    expect(status).toBe(4);
    expect(stderr).toMatch(/^segwal: ENOENT: cannot read .*absent\.txt\n$/);
    expect((await runCli(['ingest', logs.path, logs.directory])).status).toBe(4);
    await expect(logs.open({ create: false })).rejects.toMatchObject({ code: 'WAL_NOT_FOUND' });
  });

  test('refuses a line that is larger than a segment', async () => {
    const { status, stderr } = await runCli(['ingest', logs.path, '--segment-size', '64KiB'], 'x'.repeat(200_000));
    expect([3, 4]).toContain(status);
    expect(stderr).toMatch(/^segwal: (WAL_RECORD_TOO_LARGE|LINE_TOO_LONG): [^\n]*\n$/);
  });

  test('refuses a segment size that cannot be', async () => {
    const { status, stderr } = await runCli(['ingest', logs.path, '--segment-size', '1000'], 'x');
    expect(status).toBe(2);
    expect(stderr).toContain('--segment-size: segmentSize must be an integer from 65536');
  });

  test('refuses a log that another process writes', async () => {
    const writer = startChild('writer', logs.path);
    await writer.line();
    const { status, stderr } = await runCli(['ingest', logs.path], 'x');
    expect(status).toBe(3);
    expect(stderr).toMatch(/^segwal: WAL_LOCKED: /);
    expect(stderr).toContain(String(writer.pid));
  });

  interruptible('interrupted, closes the log and says how far it came', async () => {
    const child = startCli('ingest', logs.path);
    child.process.stdin.write('one\ntwo\n');
    const reader = await openWhenThere();
    while (reader.lastSequence < 2) await new Promise((resolve) => setTimeout(resolve, 10));
    child.process.kill('SIGINT');
    const { status, stdout } = await child.outcome();
    expect(status).toBe(130);
    expect(stdout).toMatch(/^appended 2 records/);
    await reader.close();
    const wal = await logs.open();
    expect(wal.recovery.clean).toBe(true);
    expect(texts(wal.read())).toEqual(['one', 'two']);
  });

  async function openWhenThere() {
    for (;;) {
      try {
        return await logs.open({ readOnly: true });
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  }
});

describe('segwal dump', () => {
  async function makeLog(): Promise<void> {
    const wal = await logs.open();
    wal.append('one', { key: 'a', kind: 1 });
    wal.append('zwei', { key: 'b', kind: 2 });
    wal.append(Buffer.of(0xff, 0xfe), { key: Buffer.of(0xff), kind: 3 });
    wal.append('', { key: '' });
    wal.append('水\n"');
    await wal.close();
  }

  test('prints records as lines of JSON', async () => {
    await makeLog();
    const { status, stdout, stderr } = await runCli(['dump', logs.path]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const lines = parseLines(stdout);
    expect(lines.map(({ time: _, ...line }) => line)).toEqual([
      { sequence: 1, kind: 1, key: 'a', data: 'one', encoding: 'utf8' },
      { sequence: 2, kind: 2, key: 'b', data: 'zwei', encoding: 'utf8' },
      { sequence: 3, kind: 3, key: '/w==', keyEncoding: 'base64', data: '//4=', encoding: 'base64' },
      { sequence: 4, kind: 0, key: '', data: '', encoding: 'utf8' },
      { sequence: 5, kind: 0, key: null, data: '水\n"', encoding: 'utf8' },
    ]);
    for (const { time } of lines) {
      expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
      expect(Math.abs(Date.parse(time) - Date.now())).toBeLessThan(60_000);
    }
  });

  const filters: [string[], number[]][] = [
    [
      ['--from', '2', '--to', '4'],
      [2, 3, 4],
    ],
    [
      ['--reverse', '--limit', '2'],
      [5, 4],
    ],
    [['--key', 'b'], [2]],
    [['--key', ''], [4]],
    [
      ['--kind', '0'],
      [4, 5],
    ],
    [
      ['--kind', 'insert', '--kind', 'DELETE'],
      [1, 3],
    ],
    [['--limit', '0'], []],
    [['--from-time', '2020-01-01', '--to-time', '2020-01-02T00:00:00Z'], []],
    [['--from-time', '1000.5', '--limit', '1'], [1]],
    [['--since', '2020-01-01', '--until', '2020-01-02T00:00:00Z'], []],
    [
      ['--since', '1000.5', '--limit', '2'],
      [1, 2],
    ],
  ];
  test.each(filters)('%p prints the records %p', async (args, expected) => {
    await makeLog();
    const { status, stdout } = await runCli(['dump', logs.path, ...args]);
    expect(status).toBe(0);
    expect(parseLines(stdout).map(({ sequence }) => sequence)).toEqual(expected);
  });

  test('ends quietly when whoever reads it has read enough', async () => {
    await logs.make(Array.from({ length: 50_000 }, (_, i) => `record ${i}`));
    const child = startCli('dump', logs.path);
    expect(await child.line()).toContain('"sequence":1');
    child.process.stdout.destroy();
    expect(await child.outcome()).toMatchObject({ status: 0, signal: null, stderr: '' });
  });

  test('what is ingested and dumped and ingested again is the same', async () => {
    const input = Array.from({ length: 3000 }, (_, i) => JSON.stringify({ id: i, text: 'é'.repeat(i % 50) }));
    await runCli(['ingest', logs.path, '--json'], input.join('\n'));
    const { stdout } = await runCli(['dump', logs.path]);
    expect(parseLines(stdout).map(({ data }) => data)).toEqual(input);
  });
});

describe('segwal inspect', () => {
  test('shows segments, ranges and the watermark', async () => {
    const wal = await logs.open({ segmentSize: 65_536 });
    appendSegments(wal, 3);
    await wal.sync();
    const { status, stdout } = await runCli(['inspect', logs.path]);
    expect(status).toBe(0);
    expect(stdout).toContain(logs.path);
    expect(stdout).toContain(`1 to ${wal.lastSequence}`);
    expect(stdout.match(/sealed/g)).toHaveLength(wal.segments().filter(({ sealed }) => sealed).length);
  });

  test('--json is everything for programs', async () => {
    await logs.make(['a', 'b']);
    const { status, stdout } = await runCli(['inspect', logs.path, '--json']);
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      directory: logs.path,
      firstSequence: 1,
      lastSequence: 2,
      durableSequence: 2,
      recovery: { clean: true, findings: [] },
      segments: [{ id: 1, firstSequence: 1, lastSequence: 2, records: 2 }],
    });
  });

  test('shows a log without records', async () => {
    await logs.make([]);
    const { status, stdout } = await runCli(['inspect', logs.path]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/records +none/);
  });
});

describe('segwal verify', () => {
  test('of a log in good order ends with 0', async () => {
    await logs.make(['a', 'b']);
    const { status, stdout } = await runCli(['verify', logs.path]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^ok: 2 records, .* in 1 segments/);
    expect(JSON.parse((await runCli(['verify', logs.path, '--json'])).stdout)).toMatchObject({ ok: true, records: 2 });
  });

  test('of damage that opening finds ends with 1, in one line', async () => {
    await logs.make(['first', 'second', 'third']);
    damage('second');
    const { status, stderr } = await runCli(['verify', logs.path]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^segwal: WAL_CORRUPT: [^\n]*\n$/);
  });

  test('of damage in a sealed segment ends with 1 and says where', async () => {
    const wal = await logs.open({ segmentSize: 65_536 });
    appendSegments(wal, 3);
    await wal.close();
    damage('record 7 ');
    const { status, stdout } = await runCli(['verify', logs.path]);
    expect(status).toBe(1);
    expect(stdout).toMatch(/^DAMAGED: /);
    expect(stdout).toMatch(/segment 1/);
  });
});

describe('segwal tail', () => {
  test('prints the last records, oldest first', async () => {
    await logs.make(Array.from({ length: 30 }, (_, i) => `record ${i + 1}`));
    const last = async (...args: string[]): Promise<number[]> =>
      parseLines((await runCli(['tail', logs.path, ...args])).stdout).map(({ sequence }) => sequence);
    expect(await last()).toEqual([21, 22, 23, 24, 25, 26, 27, 28, 29, 30]);
    expect(await last('-n', '2')).toEqual([29, 30]);
    expect(await last('-n', '0')).toEqual([]);
    expect(await last('--lines', '100')).toHaveLength(30);
  });

  test('-f goes on with what another process appends, until interrupted', async () => {
    const wal = await logs.open({ segmentSize: 65_536 });
    wal.append('before');
    const child = startCli('tail', logs.path, '-f');
    expect(await child.line()).toContain('"data":"before"');
    for (let i = 2; i <= 5; i++) {
      wal.append(`record ${i}`);
      if (i === 3) await wal.rotate();
      expect(await child.line()).toContain(`"data":"record ${i}"`);
    }
    child.process.kill('SIGINT');
    expect(await child.outcome()).toMatchObject({ ...(canInterrupt ? { status: 130 } : {}), stderr: '' });
  });

  test('-f of an empty log waits for the first record', async () => {
    const wal = await logs.open();
    const child = startCli('tail', logs.path, '-f', '-n', '0');
    wal.append('first');
    // Appended before or after tail began to look: -n 0 prints only what comes, so append until it does.
    const timer = setInterval(() => wal.append('next'), 50);
    expect(await child.line()).toMatch(/"data":"(first|next)"/);
    clearInterval(timer);
  });
});
