// Who may know whom: lib -> binding -> core -> platform.h <- posix | win32. See docs/ARCHITECTURE.md.
// Every rule carries a file that breaks it; a rule that lets its own example pass is itself reported.
import { readFileSync } from 'node:fs';
import { posix } from 'node:path';

import { files, report } from './repository.mjs';

const include = /^\s*#\s*include\s*([<"][^>"]+[>"])/;
const osMacro = /^\s*#\s*(?:el)?if.*\b(_WIN32|_WIN64|_MSC_VER|__linux__|__APPLE__|__FreeBSD__|__unix__|__ANDROID__)\b/;
const moduleImport = /(?:\bfrom|\bimport|\bimport\(|\brequire\()\s*['"]([^'"]+)['"]/;

const source = (folder) => new RegExp(`^native/${folder}/.*(?<!_test)\\.(cc|h)$`);
const script = (folder) => new RegExp(`^${folder}/.*\\.[cm]?[jt]s$`);

// `name` is what the pattern finds in a line; the line breaks the rule when `forbids` says so.
const rules = [
  {
    says: 'core includes only core/, the headers of the platform seam, the standard library and instruction sets',
    files: source('core'),
    pattern: include,
    forbids: (name) => !/^("core\/.+"|"platform\/\w+\.h"|<\w+>|<(immintrin|cpuid|arm_acle)\.h>)$/.test(name),
    examples: [
      ['native/core/log.cc', '#include <sys/mman.h>'],
      ['native/core/log.cc', '#include "platform/posix/posix_file.h"'],
      ['native/core/crc32c/crc32c.cc', '#include "binding/addon.h"'],
    ],
  },
  {
    says: 'core does not know the operating system',
    files: source('core'),
    pattern: osMacro,
    forbids: () => true,
    examples: [
      ['native/core/log.h', '#ifdef _WIN32'],
      ['native/core/log.cc', '#elif defined(__APPLE__)'],
    ],
  },
  {
    says: 'the platform does not know what is built on it',
    files: source('platform'),
    pattern: include,
    forbids: (name) => /^"(core|binding)\//.test(name),
    examples: [['native/platform/posix/posix_file.cc', '#include "core/format.h"']],
  },
  {
    says: 'only the binding, and what tests it, knows Node-API',
    files: /^native\/(?!binding\/|testing\/node_api\/).*\.(cc|h)$/,
    pattern: include,
    forbids: (name) => /\b(napi|node_api|js_native_api|node|v8|uv)\.h|"binding\//.test(name),
    examples: [
      ['native/core/log_test.cc', '#include <napi.h>'],
      ['native/testing/memory_platform.cc', '#include "binding/addon.h"'],
    ],
  },
  {
    says: 'lib loads the addon in lib/load.ts alone',
    files: /^lib\/(?!load\.ts$)/,
    pattern: moduleImport,
    forbids: (name) => /^(node-gyp-build|bindings)$/.test(name) || name.endsWith('.node'),
    examples: [
      ['lib/wal-manager.ts', "const native = require('../build/Release/segwal.node');"],
      ['lib/cli/main.ts', "import load from 'node-gyp-build';"],
    ],
  },
  {
    says: 'lib imports only itself and packages',
    files: script('lib'),
    pattern: moduleImport,
    forbids: (name, path) => name.startsWith('.') && !resolve(path, name).startsWith('lib/'),
    examples: [['lib/cli/main.ts', "import { helper } from '../../test/helper';"]],
  },
  {
    says: 'tests import the public API, helpers and packages',
    files: script('test'),
    pattern: moduleImport,
    forbids: (name, path) =>
      name === 'node-gyp-build' ||
      (name.startsWith('.') &&
        !/^(test\/.+|(lib|dist)(\/index)?(\.js)?)$/.test(resolve(path, name)) &&
        // What has no public face: how the addon is found, and the checksum that a second implementation is the oracle of.
        !(/^test\/(load|crc32c)\.test\.ts$/.test(path) && resolve(path, name) === 'lib/load')),
    examples: [
      ['test/append.test.ts', "import { loadNative } from '../lib/load';"],
      ['test/cli/ingest.test.ts', "import native from '../../build/Release/segwal.node';"],
      ['test/append.test.ts', "import build from 'node-gyp-build';"],
    ],
  },
  {
    says: 'examples use segwal as a user would',
    files: script('examples'),
    pattern: moduleImport,
    forbids: (name, path) =>
      name.startsWith('segwal/') || (name.startsWith('.') && !resolve(path, name).startsWith('examples/')),
    examples: [
      ['examples/ingest/main.js', "const { WalManager } = require('../../dist');"],
      ['examples/ingest/main.js', "import { load } from 'segwal/dist/load.js';"],
    ],
  },
];

function resolve(path, name) {
  return posix.join(posix.dirname(path), name);
}

function violations(rule, path, text) {
  if (!rule.files.test(path)) return [];
  return text.split('\n').flatMap((line, index) => {
    const name = rule.pattern.exec(line)?.[1];
    return name !== undefined && rule.forbids(name, path) ? [`${path}:${index + 1}: ${rule.says}: ${line.trim()}`] : [];
  });
}

const blind = rules.flatMap((rule) =>
  rule.examples
    .filter(([path, line]) => violations(rule, path, line).length === 0)
    .map(([path, line]) => `scripts/check-layering.mjs: "${rule.says}" does not notice in ${path}: ${line}`),
);
const found = files.flatMap((path) =>
  rules.some((rule) => rule.files.test(path))
    ? rules.flatMap((rule) => violations(rule, path, readFileSync(path, 'utf8')))
    : [],
);
report([...blind, ...found]);
