/** A parsed JSON pointer (RFC 6901): the names on the way from the whole document to the value. */
export type JsonPointer = readonly string[];

/** `undefined` when the text is not a JSON pointer. */
export function parsePointer(text: string): JsonPointer | undefined {
  if (text === '') return [];
  if (!text.startsWith('/') || /~(?![01])/.test(text)) return undefined;
  return text
    .slice(1)
    .split('/')
    .map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~'));
}

/** The value that the pointer leads to; `undefined` when it leads nowhere. */
export function evaluatePointer(document: unknown, pointer: JsonPointer): unknown {
  let value = document;
  for (const name of pointer) {
    if (typeof value !== 'object' || value === null) return undefined;
    // As the RFC has it, an array is indexed by digits without leading zeros; its length and methods are not members.
    if (Array.isArray(value) && !/^(0|[1-9]\d*)$/.test(name)) return undefined;
    if (!Object.hasOwn(value, name)) return undefined;
    value = (value as Record<string, unknown>)[name];
  }
  return value;
}
