// The nearest vectors to one, by brute force: what is to be kept, not how it is found, is the subject here.
class VectorIndex {
  constructor(dimensions) {
    this.dimensions = dimensions;
    this.vectors = new Map();
  }

  insert(id, vector) {
    this.vectors.set(id, Float32Array.from(vector));
  }

  delete(id) {
    this.vectors.delete(id);
  }

  /** The ids of the `count` nearest, the nearest first; of those that are as near, the lower id first. */
  search(query, count) {
    const distanceTo = (vector) => vector.reduce((sum, value, i) => sum + (value - query[i]) ** 2, 0);
    return [...this.vectors]
      .map(([id, vector]) => ({ id, distance: distanceTo(vector) }))
      .sort((a, b) => a.distance - b.distance || (a.id < b.id ? -1 : 1))
      .slice(0, count)
      .map(({ id }) => id);
  }
}

module.exports = { VectorIndex };
