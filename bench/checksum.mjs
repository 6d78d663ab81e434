// node bench/checksum.mjs: how fast the log's own CRC32C goes, alone and with a copy, by the size of the pieces; over
// memory that the processor has in its cache, and over more than it can have there.
import { raw } from './environment.mjs';
import { summarize } from './statistics.mjs';

const cached = Buffer.alloc(2 ** 18, 'segwal');
const large = Buffer.alloc(2 ** 28, 'segwal');
const source = Buffer.alloc(2 ** 16, 'segwal');
const rounds = 9;

console.log(`${raw.crc32cImplementation}, GB/s, the median of ${rounds} rounds\n`);
console.log('   bytes  CRC, cached  CRC, memory  copy, cached  copy, memory');
for (const piece of [124, 512, 1024, 4096, 16384, 65536]) {
  const rates = [
    rate(cached, (to) => raw.crc32c(to, piece, 1)),
    rate(large, (to) => raw.crc32c(to, piece, 1)),
    rate(cached, (to) => raw.copyAndCrc32c(to, source, piece)),
    rate(large, (to) => raw.copyAndCrc32c(to, source, piece)),
  ];
  console.log(String(piece).padStart(8) + rates.map((each) => each.toFixed(1).padStart(13)).join(''));
}

function rate(buffer, over) {
  const times = large.length / buffer.length;
  const rates = Array.from({ length: rounds }, () => {
    const begin = performance.now();
    for (let i = 0; i < times; i++) over(buffer);
    return large.length / (performance.now() - begin) / 1e6;
  });
  return summarize(rates).median;
}
