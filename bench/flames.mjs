// Flame graphs: where the processors' time goes while a trial runs, sampled by perf (Linux).
//
// The stacks are read from the unwinding tables, not from frame pointers: Node.js and what V8 compiles have those, the addon
// does not, as it is built for who uses it and not for who profiles it. V8 writes the tables of what it compiles into a file
// of its own (--perf-prof-unwinding-info), which `perf inject` brings together with the samples.
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';

const samplesPerSecond = 997; // not in step with what happens every millisecond
const stackBytes = 8192; // from each sample on, up to the event loop
const startUpMs = 500; // Node.js loads, V8 compiles
const mostOutput = 2 ** 30;
/** What takes less than this share of the samples has no box of its own. */
const leastShare = 0.003;
const longestName = 90;

const record = ['record', '--quiet', '--no-buildid-cache', '--clockid', 'mono', '--event', 'cpu-clock'];
const node = [process.execPath, '--perf-prof', '--perf-prof-unwinding-info', '--interpreted-frames-native-stack'];

/** Why there can be no flame graphs here; undefined where there can. */
export function whyNoFlames(directory) {
  if (process.platform !== 'linux') return 'perf is only there on Linux';
  const own = join(directory, 'probe');
  mkdirSync(own, { recursive: true });
  try {
    profile(['-e', ''], own, 0);
    return undefined;
  } catch (error) {
    return error.code === 'ENOENT' ? 'perf is not installed' : error.message;
  } finally {
    rmSync(own, { recursive: true });
  }
}

/** Runs a trial of another suite under perf, for what bench/trial.mjs takes: see foldStacks. */
export function flamesOf(suite, options, directory) {
  const own = join(directory, 'log');
  mkdirSync(own);
  return foldStacks(
    profile([join(import.meta.dirname, 'trial.mjs'), suite, JSON.stringify(options), own], directory, startUpMs),
  );
}

/** The text of `perf script` for a run of Node.js. What is written on the way goes into `directory`. */
function profile(program, directory, delayMs) {
  const callGraph = ['--freq', String(samplesPerSecond), '--call-graph', `dwarf,${stackBytes}`];
  const delay = delayMs > 0 ? ['--delay', String(delayMs)] : [];
  perf([...record, ...callGraph, ...delay, '--output', 'samples', '--', ...node, ...program], directory);
  perf(['inject', '--jit', '--input', 'samples', '--output', 'all'], directory);
  // Functions that were inlined have no stack frame, and to look each address up takes minutes.
  return perf(['script', '--no-inline', '--fields', 'comm,pid,tid,time,ip,sym,dso', '--input', 'all'], directory);
}

function perf(args, directory) {
  // Without a place of its own it copies every binary into the home directory.
  const { status, stdout, stderr, error } = spawnSync('perf', ['--buildid-dir', join(directory, 'binaries'), ...args], {
    cwd: directory,
    encoding: 'utf8',
    maxBuffer: mostOutput,
  });
  if (error) throw error;
  if (status === 0) return stdout;
  const said = stderr.split('\n').find((line) => /\w/.test(line) && !/^\w+:\s*$/.test(line)) ?? `status ${status}`;
  throw new Error(`perf ${args[0]} failed: ${said.trim()}`);
}

/** By whose frames a thread is known, when the addon has started it. */
const threads = [
  [/^segwal::Syncer::Run$/, 'syncer'],
  [/^segwal::Allocator::KeepWindow$/, "allocator's window"],
  [/^segwal::Allocator::KeepSpare$/, "allocator's spare segment"],
  [/^segwal::Reclaimer::Run$/, 'reclaimer'],
  [/^segwal::WritableLog::Janitor$/, 'janitor'],
  [/^segwal::TaskPool::Run$/, 'task pool'],
  [/^node::(PlatformWorkerThread|WorkerThreadsTaskRunner\b.*)$/, "V8's workers"],
];
export const javaScriptThread = 'JavaScript thread';

/** On the way from the start of a thread to what it does. */
const start =
  /^(_start|__libc_start\w*|main|node::(Start|NodeMainInstance::Run|SpinEventLoop\w*)|uv_run|uv__(io_poll|async_io)|_*clone3?|start_thread|execute_native_thread_routine|\[.*\])$/;
/** How an interrupt comes in, whatever it interrupted. */
const interrupt = /^(asm_sysvec_|asm_common_interrupt|asm_exc_nmi|el[01]t?_64_irq|ret_from_intr)/;
/** On the way into JavaScript, and into the kernel: says nothing that the frame after it does not say. */
const plumbing = new RegExp(
  `^(${[
    'v8::internal::(Invoke|Execution::\\w+|MicrotaskQueue::RunMicrotasks)',
    'Builtins_(JS(RunMicrotasks)?Entry|JSEntryTrampoline|InterpreterEntryTrampoline|RunMicrotasks)',
    'node::CallbackScope::~CallbackScope',
    '(entry_SYSCALL_64\\w*|do_syscall_64|x64_sys_call|asm_exc_page_fault)_\\[k\\]',
    '(el[01]t?_64_sync(_handler)?|el[01]_svc|do_el0_svc|el0_svc_common|invoke_syscall)_\\[k\\]',
  ].join('|')})$`,
);

/**
 * From the text of `perf script -F comm,pid,tid,time,ip,sym,dso` to a tree:
 * { samples, seconds, tree: { name, value, children }, threads: { [name]: samples } }. `seconds` are from the first sample to the
 * last. A value counts the samples in which the frame was on the stack below those above it. Frames of the kernel end
 * with `_[k]`, those of JavaScript with `_[j]`, as elsewhere. No name has a path in it.
 * @param least share of all samples that a box must have
 */
export function foldStacks(text, least = leastShare) {
  const samples = parse(text);
  const names = nameThreads(samples);
  const tree = { value: 0, children: new Map() };
  const count = {};
  for (const { tid, frames } of samples) {
    const thread = names.get(tid);
    count[thread] = (count[thread] ?? 0) + 1;
    let box = tree;
    box.value++;
    for (const name of [thread, ...worthShowing(frames)]) {
      if (!box.children.has(name)) box.children.set(name, { value: 0, children: new Map() });
      box = box.children.get(name);
      box.value++;
    }
  }
  const times = samples.map(({ time }) => time);
  const bounds = times.reduce(
    ([low, high], time) => [Math.min(low, time), Math.max(high, time)],
    [Infinity, -Infinity],
  );
  return {
    samples: samples.length,
    seconds: samples.length === 0 ? 0 : bounds[1] - bounds[0],
    tree: pruned('all', tree, samples.length * least),
    threads: count,
  };
}

/** The share of a processor that so many samples of `seconds` stand for, in %. */
export function percentOfProcessor(samples, seconds) {
  return (samples / samplesPerSecond / seconds) * 100;
}

/** A line for the thread, one for each frame from the innermost on, an empty one. */
function parse(text) {
  return text.split(/\n\s*\n/).flatMap((sample) => {
    const [head, ...lines] = sample.split('\n').filter((line) => line !== '');
    const [, comm, pid, tid, time] = /^\s*(.+?)\s+(\d+)\/(\d+)\s+(\d+\.\d+):/.exec(head ?? '') ?? [];
    if (comm === undefined) return [];
    const frames = lines.flatMap((line) => {
      const [, address, symbol, object] = /^\s+([0-9a-f]+) (.*) \((.*)\)$/.exec(line.replace(' (deleted))', ')')) ?? [];
      return address === undefined ? [] : [frameName(address, symbol, object)];
    });
    return [{ comm, pid, tid, time: Number(time), frames: frames.reverse() }];
  });
}

function frameName(address, symbol, object) {
  const unknown = symbol === '[unknown]';
  if (unknown && object === '[unknown]') return symbol;
  if (/^ffff[0-9a-f]{12}$/.test(address)) return unknown ? 'kernel_[k]' : `${withoutClone(symbol)}_[k]`;
  if (unknown) return /\bjitted-|\/perf-\d+\.map$/.test(object) ? '[compiled by V8]' : `[${basename(object)}]`;
  const script = /^(?:JS|LazyCompile|Function|Script|Eval):[*~^+]?(\S*)(?: (.*))?$/.exec(symbol);
  if (script !== null) return scriptName(script[1], script[2]);
  return withoutPaths(withoutArguments(withoutClone(symbol.replace(/^Builtin:/, 'Builtins_')))).slice(0, longestName);
}

/** Of "append file:///somewhere/lib/wal.js:3:11" what does not say where that is. What the compilers make of it is one. */
function scriptName(name, place = '') {
  const where = place.replace(/^.*\//, '').replace(/^node:/, '');
  return `${withoutPaths(name) || '(anonymous)'} ${where.replace(/(:\d+):\d+$/, '$1')}`.trimEnd() + '_[j]';
}

function withoutPaths(name) {
  return name.replace(/(?<![\w.])(?:\w+:\/\/)?\/(?:[^\s/:(),]+\/)*/g, '');
}

/** Several versions of a function by the compiler, or by the C library, are one. */
function withoutClone(symbol) {
  return symbol.replace(/@.*$/, '').replace(/(\.(constprop|isra|part|cold|llvm)(\.\d+)*)+$/, '');
}

/** Neither template arguments nor parameters. */
function withoutArguments(symbol) {
  let name = symbol.replaceAll('(anonymous namespace)::', '').replace(/operator\s*(<<?|>>?|->)=?/g, 'operator');
  for (let longer = ''; longer !== name;) {
    longer = name;
    name = name.replace(/\([^()]*\)( const)?/g, '');
  }
  for (let longer = ''; longer !== name;) {
    longer = name;
    name = name.replace(/<[^<>]*>/g, '');
  }
  return name.replace(/^\w[\w:]* (?=\w+::)/, ''); // a template's return type
}

/** Which thread each tid is. */
function nameThreads(samples) {
  const names = new Map();
  const main = samples.find(({ pid, tid }) => pid === tid);
  for (const { comm, pid, tid, frames } of samples) {
    if (pid === tid) names.set(tid, javaScriptThread);
    const [, known] = threads.find(([pattern]) => frames.some((name) => pattern.test(name))) ?? [];
    // What has a name of its own tells what it is.
    const other = comm === main?.comm || main === undefined ? 'other threads' : comm;
    if (!names.has(tid) || (known !== undefined && pid !== tid)) names.set(tid, known ?? other);
  }
  return names;
}

function worthShowing(frames) {
  const first = frames.findIndex((name) => !start.test(name));
  if (first < 0) return frames.slice(-1);
  const interrupted = frames.findIndex((name) => interrupt.test(name));
  const kept = interrupted < 0 ? frames.slice(first) : [...frames.slice(first, interrupted), 'interrupt_[k]'];
  return kept.filter((name, i) => name !== kept[i - 1] && (i === kept.length - 1 || !plumbing.test(name)));
}

/** What is left out still counts where it was called from. */
function pruned(name, { value, children }, least) {
  const kept = [...children]
    .filter(([, child]) => child.value >= least)
    .sort(([, a], [, b]) => b.value - a.value)
    .map(([own, child]) => pruned(own, child, least));
  return { name, value, ...(kept.length > 0 && { children: kept }) };
}
