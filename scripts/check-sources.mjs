// native/sources.txt is the one list of what the addon is made of: complete, and read by both builds.
import { execSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

import { defines, nativeFiles, report } from './repository.mjs';

const listed = readFileSync('native/sources.txt', 'utf8').trim().split('\n');
const present = nativeFiles.filter((path) => /\.cc$/.test(path) && !/_test\.cc$|^native\/testing\//.test(path));

const gyp = readFileSync('binding.gyp', 'utf8');
const gypCommand = /"sources": \["<!@\((.+)\)"\]/.exec(gyp)?.[1].replaceAll('\\"', '"');
const gypSources = gypCommand ? execSync(gypCommand, { encoding: 'utf8' }).trim().split('\n') : [];

const cmake = readFileSync('CMakeLists.txt', 'utf8');
const cmakeList = /^file\(STRINGS (\S+) sources\)$/m.exec(cmake)?.[1];
const cmakeDefines = /target_compile_definitions\(segwal PRIVATE ([^)]+)\)/.exec(cmake)?.[1].split(/\s+/) ?? [];
const namesOfSources = (text) => text.match(/[\w/]+\.cc\b/g) ?? [];

report([
  ...present.filter((path) => !listed.includes(path)).map((path) => `${path} is not listed in native/sources.txt`),
  ...listed
    .filter((path) => !present.includes(path))
    .map((path) => `native/sources.txt lists ${path}, which is no source`),
  ...(listed.join() === [...new Set(listed)].sort().join()
    ? []
    : ['native/sources.txt is not sorted, or repeats a line']),
  ...(gypSources.join() === listed.join() ? [] : ['binding.gyp does not take its sources from native/sources.txt']),
  ...(cmakeList === 'native/sources.txt' ? [] : ['CMakeLists.txt does not take its sources from native/sources.txt']),
  ...(cmakeDefines.join() === defines.join() ? [] : ['CMakeLists.txt and binding.gyp define different things']),
  ...namesOfSources(gyp).map((path) => `binding.gyp names ${path} itself`),
  ...namesOfSources(cmake.replace(/^ *(file\(GLOB|list\(FILTER).*$/gm, '')).map(
    (path) => `CMakeLists.txt names ${path} itself`,
  ),
]);
