// A graph in memory, a snapshot of it in a file, and a log of what happened since.
const { mkdirSync, readdirSync, readFileSync, statSync } = require('node:fs');
const { join } = require('node:path');
const { Operation, WalManager } = require('segwal');

const { removeFile, writeWhole } = require('../shared/snapshot');

/** Nodes have a label, edges lead from one node to another. */
class Graph {
  constructor({ nodes = [], edges = [] } = {}) {
    this.nodes = new Map(nodes);
    this.edges = new Set(edges);
  }

  apply({ does, id, label, to }) {
    if (does === 'node') this.nodes.set(id, label);
    else if (does === 'edge' && this.nodes.has(id) && this.nodes.has(to)) this.edges.add(`${id} ${to}`);
    else if (does === 'remove') {
      this.nodes.delete(id);
      for (const edge of this.edges) if (edge.split(' ').includes(String(id))) this.edges.delete(edge);
    }
  }

  toJSON() {
    return { nodes: [...this.nodes].sort(([a], [b]) => a - b), edges: [...this.edges].sort() };
  }
}

class GraphStore {
  /** The snapshot of the newest checkpoint, and what the log has behind it. */
  static async open(directory) {
    mkdirSync(directory, { recursive: true });
    const wal = await WalManager.open(join(directory, 'log'), { segmentSize: 64 * 1024 });
    const checkpoint = wal.checkpoints().at(-1);
    if (checkpoint === undefined && wal.firstSequence > 1) {
      throw new Error(`the log begins with record ${wal.firstSequence}, and no checkpoint says what was before`);
    }
    const name = checkpoint?.data?.toString();
    const graph = new Graph(name === undefined ? {} : JSON.parse(readFileSync(join(directory, name), 'utf8')));
    const { records } = await wal.replay(checkpoint, ({ data }) => graph.apply(JSON.parse(data.toString())));
    return new GraphStore(directory, wal, graph, { snapshot: name, replayed: records });
  }

  constructor(directory, wal, graph, opened) {
    this.directory = directory;
    this.wal = wal;
    this.graph = graph;
    this.opened = opened;
  }

  /** One operation, or several that go together. */
  change(operations) {
    const data = operations.map((operation) => ({ data: JSON.stringify(operation), kind: Operation.Update }));
    this.wal.appendBatch(data);
    for (const operation of operations) this.graph.apply(operation);
  }

  /**
   * A snapshot in the place of the log so far. In this order, so that a crash at any point loses nothing:
   *
   * 1. The log is flushed: a snapshot must not have what a power cut could take away from the log.
   * 2. The graph is read, with the number of the last change in it: no change comes between the two.
   * 3. The snapshot is written whole, under a name of its own.
   * 4. The checkpoint names it. From now on it is what `open` begins with.
   * 5. The log before it, and older snapshots, are deleted.
   */
  async checkpoint() {
    await this.wal.sync();
    const sequence = this.wal.lastSequence;
    if (sequence === 0) return; // nothing has happened yet
    const text = JSON.stringify(this.graph);
    const name = `graph-${sequence}.json`;
    writeWhole(join(this.directory, name), text);
    await this.wal.createCheckpoint({ sequence, data: name });
    await this.wal.rotate();
    await this.wal.truncateBefore(sequence + 1);
    const needed = new Set(this.wal.checkpoints().map(({ data }) => data?.toString()));
    for (const file of readdirSync(this.directory)) {
      if (file.startsWith('graph-') && !needed.has(file)) removeFile(join(this.directory, file));
    }
  }

  /** What the log takes on the disk, as the file system says. */
  logBytes() {
    const segments = join(this.directory, 'log', 'segments');
    return readdirSync(segments).reduce((sum, file) => sum + statSync(join(segments, file)).size, 0);
  }

  close() {
    return this.wal.close();
  }
}

module.exports = { Graph, GraphStore };
