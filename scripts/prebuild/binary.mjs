// Reads what a shared library says about itself: ELF, PE and Mach-O, 64 bits, little-endian; no tool of any system needed.
//
// describe(bytes) = { format, architecture, libraries, imports, exports, stripped, floor }
//   imports   names that others have to provide; for ELF with the version ("memcpy@GLIBC_2.14"), for PE with the DLL
//   floor     the lowest version of the system: of glibc for ELF ("2.17", or null without glibc), of macOS for Mach-O

/** Strings that end with a zero byte. */
const textAt = (bytes, at) => bytes.toString('latin1', at, bytes.indexOf(0, at));
const u64 = (bytes, at) => Number(bytes.readBigUInt64LE(at));

function compareVersions(a, b) {
  const [left, right] = [a, b].map((text) => text.split('.').map(Number));
  for (let i = 0; i < Math.max(left.length, right.length); ++i) {
    if ((left[i] ?? 0) !== (right[i] ?? 0)) return (left[i] ?? 0) - (right[i] ?? 0);
  }
  return 0;
}

function describeElf(bytes) {
  const machines = { 0x3e: 'x64', 0xb7: 'arm64' };
  const start = u64(bytes, 0x28);
  const size = bytes.readUInt16LE(0x3a);
  const sections = Array.from({ length: bytes.readUInt16LE(0x3c) }, (_, index) => {
    const at = start + index * size;
    return {
      type: bytes.readUInt32LE(at + 4),
      offset: u64(bytes, at + 24),
      size: u64(bytes, at + 32),
      link: bytes.readUInt32LE(at + 40),
      info: bytes.readUInt32LE(at + 44),
    };
  });
  const ofType = (type) => sections.find((section) => section.type === type);
  const strings = (section) => (offset) => textAt(bytes, sections[section.link].offset + offset);

  const dynamic = ofType(6);
  const libraries = [];
  for (let at = dynamic.offset; at < dynamic.offset + dynamic.size; at += 16) {
    if (u64(bytes, at) === 1) libraries.push(strings(dynamic)(u64(bytes, at + 8)));
  }

  // Versions that are asked of other libraries, by the number that stands for each (gnu.version_r).
  const versions = new Map();
  const needed = ofType(0x6ffffffe);
  if (needed) {
    for (let file = needed.offset, left = needed.info; left > 0; --left) {
      let entry = file + bytes.readUInt32LE(file + 8);
      for (let count = bytes.readUInt16LE(file + 2); count > 0; --count) {
        versions.set(bytes.readUInt16LE(entry + 6), strings(needed)(bytes.readUInt32LE(entry + 8)));
        entry += bytes.readUInt32LE(entry + 12);
      }
      file += bytes.readUInt32LE(file + 12);
    }
  }

  const symbols = ofType(11);
  const numbers = ofType(0x6fffffff);
  const imports = [];
  const exports = [];
  for (let index = 1; index < symbols.size / 24; ++index) {
    const at = symbols.offset + index * 24;
    const name = strings(symbols)(bytes.readUInt32LE(at));
    const version = numbers && versions.get(bytes.readUInt16LE(numbers.offset + index * 2) & 0x7fff);
    if (bytes.readUInt16LE(at + 6) === 0) imports.push(version ? `${name}@${version}` : name);
    else if (bytes[at + 4] >> 4 !== 0) exports.push(name);
  }
  const floors = imports.flatMap((name) => /@GLIBC_([\d.]+)$/.exec(name)?.[1] ?? []).sort(compareVersions);
  return {
    format: 'ELF',
    architecture: machines[bytes.readUInt16LE(0x12)],
    libraries,
    imports,
    exports,
    stripped: !ofType(2),
    floor: floors.at(-1) ?? null,
  };
}

function describePe(bytes) {
  const machines = { 0x8664: 'x64', 0xaa64: 'arm64' };
  const header = bytes.readUInt32LE(0x3c);
  const optional = header + 24;
  const sections = Array.from({ length: bytes.readUInt16LE(header + 6) }, (_, index) => {
    const at = optional + bytes.readUInt16LE(header + 20) + index * 40;
    return {
      address: bytes.readUInt32LE(at + 12),
      size: bytes.readUInt32LE(at + 16),
      raw: bytes.readUInt32LE(at + 20),
    };
  });
  const place = (address) => {
    const section = sections.find((one) => address >= one.address && address < one.address + one.size);
    return address - section.address + section.raw;
  };
  const directoryEntry = (index) => bytes.readUInt32LE(optional + 112 + index * 8);

  const exports = [];
  if (directoryEntry(0) !== 0) {
    const table = place(directoryEntry(0));
    const names = place(bytes.readUInt32LE(table + 32));
    for (let index = 0; index < bytes.readUInt32LE(table + 24); ++index) {
      exports.push(textAt(bytes, place(bytes.readUInt32LE(names + index * 4))));
    }
  }
  const libraries = [];
  const imports = [];
  if (directoryEntry(1) !== 0) {
    for (let at = place(directoryEntry(1)); bytes.readUInt32LE(at + 12) !== 0; at += 20) {
      const library = textAt(bytes, place(bytes.readUInt32LE(at + 12)));
      libraries.push(library);
      for (let thunk = place(bytes.readUInt32LE(at)); u64(bytes, thunk) !== 0; thunk += 8) {
        const byName = bytes.readUInt32LE(thunk + 4) >>> 31 === 0;
        const name = byName ? textAt(bytes, place(bytes.readUInt32LE(thunk)) + 2) : `#${bytes.readUInt16LE(thunk)}`;
        imports.push(`${name}@${library}`);
      }
    }
  }
  // A debug directory whose entries all say "reproducible" (16) tells nothing of where or when it was built.
  const kinds = [];
  if (directoryEntry(6) !== 0) {
    const entries = bytes.readUInt32LE(optional + 112 + 6 * 8 + 4) / 28;
    for (let index = 0; index < entries; ++index) {
      kinds.push(bytes.readUInt32LE(place(directoryEntry(6)) + index * 28 + 12));
    }
  }
  return {
    format: 'PE',
    architecture: machines[bytes.readUInt16LE(header + 4)],
    libraries,
    imports,
    exports,
    stripped: bytes.readUInt32LE(header + 12) === 0 && kinds.every((kind) => kind === 16),
    floor: null,
  };
}

function describeMachO(bytes) {
  const machines = { 0x01000007: 'x64', 0x0100000c: 'arm64' };
  const libraries = [];
  const imports = [];
  const exports = [];
  let floor = null;
  let locals = 0;
  let signed = false;
  for (let at = 32, left = bytes.readUInt32LE(16); left > 0; --left, at += bytes.readUInt32LE(at + 4)) {
    const command = bytes.readUInt32LE(at);
    if (command === 0xc) libraries.push(textAt(bytes, at + bytes.readUInt32LE(at + 8)));
    if (command === 0x1d) signed = true;
    if (command === 0x32) floor = `${bytes.readUInt16LE(at + 14)}.${bytes[at + 13]}`;
    if (command !== 0x2) continue;
    const [symbols, count, strings] = [8, 12, 16].map((offset) => bytes.readUInt32LE(at + offset));
    for (let index = 0; index < count; ++index) {
      const symbol = symbols + index * 16;
      const type = bytes[symbol + 4];
      const name = textAt(bytes, strings + bytes.readUInt32LE(symbol)).replace(/^_/, '');
      if ((type & 0xe0) !== 0) ++locals;
      else if ((type & 1) === 0) ++locals;
      else if ((type & 0xe) === 0) imports.push(name);
      else exports.push(name);
    }
  }
  return {
    format: 'Mach-O',
    architecture: machines[bytes.readUInt32LE(4)],
    libraries,
    imports,
    exports,
    stripped: locals === 0,
    floor,
    signed,
  };
}

export function describe(bytes) {
  if (bytes.readUInt32BE(0) === 0x7f454c46) return describeElf(bytes);
  if (bytes.readUInt16BE(0) === 0x4d5a) return describePe(bytes);
  if (bytes.readUInt32LE(0) === 0xfeedfacf) return describeMachO(bytes);
  throw new Error('neither ELF nor PE nor Mach-O');
}

export { compareVersions };
