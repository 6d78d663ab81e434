// The platforms that the package has a binary for: how zig calls them, and what the binary may ask of the system.
import { readFileSync } from 'node:fs';

export const glibcFloor = '2.17'; // CentOS 7, and older than any that Node 20 runs on
export const macosFloor = '11.0'; // what Node 20 asks for (10.15), and the first there is for arm64

const glibc = {
  libc: 'glibc',
  libraries: /^(libc\.so\.6|lib(m|dl|pthread|rt)\.so\.\d|ld-linux-(x86-64|aarch64)\.so\.\d)$/,
  link: ['-Wl,--version-script=exports.map'],
};
const musl = { libc: 'musl', libraries: /^libc\.so$/, link: ['-Wl,--version-script=exports.map'] };
const windows = {
  libraries: /^(KERNEL32|ADVAPI32|ntdll|bcrypt|api-ms-win-crt-[a-z]+-l1-1-0)\.dll$/i,
  link: ['-lbcrypt', 'exports.def'],
  sources: ['node_api_imports.cc'],
  flags: ['-DNAPI_EXTERN=__declspec(dllimport)'], // called through the words that node_api_imports.cc makes
};
const darwin = {
  libraries: /^\/usr\/lib\/libSystem\.B\.dylib$/,
  link: ['-Wl,-undefined,dynamic_lookup', '-Wl,-dead_strip'],
  // The linker has no list of exports. These are the compiler's own, and weak: the system takes whichever was first.
  alsoExported: /^(_Z(n[aw]|d[al]).*|_mh_dylib_header|__dso_handle)$/,
};

export const targets = [
  { platform: 'linux', arch: 'x64', zig: `x86_64-linux-gnu.${glibcFloor}`, ...glibc },
  { platform: 'linux', arch: 'arm64', zig: `aarch64-linux-gnu.${glibcFloor}`, ...glibc },
  { platform: 'linux', arch: 'x64', zig: 'x86_64-linux-musl', ...musl },
  { platform: 'linux', arch: 'arm64', zig: 'aarch64-linux-musl', ...musl },
  { platform: 'win32', arch: 'x64', zig: 'x86_64-windows-gnu', ...windows },
  { platform: 'win32', arch: 'arm64', zig: 'aarch64-windows-gnu', ...windows },
  { platform: 'darwin', arch: 'x64', zig: `x86_64-macos.${macosFloor}`, ...darwin },
  { platform: 'darwin', arch: 'arm64', zig: `aarch64-macos.${macosFloor}`, ...darwin },
].map((target) => ({
  ...target,
  name: [target.platform, target.arch, target.libc].filter(Boolean).join('-'),
  // As lib/load.ts looks for it.
  file: `${target.platform}-${target.arch}/segwal${target.libc ? `.${target.libc}` : ''}.node`,
}));

/** The sources of native/sources.txt that are for this platform, by folder, as both other builds choose them. */
export function sourcesOf({ platform }) {
  const others = {
    linux: /^native\/platform\/(win32|posix\/darwin)\//,
    darwin: /^native\/platform\/(win32|posix\/linux)\//,
    win32: /^native\/platform\/posix\//,
  };
  const all = readFileSync('native/sources.txt', 'utf8').trim().split('\n');
  return all.filter((path) => !others[platform].test(path));
}
