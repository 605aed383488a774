import { celList, celMap, isCelList, isCelMap } from '@bufbuild/cel';
import type { CelInput, CelList, CelMap, CelValue } from '@bufbuild/cel';

/**
 * Converts JSON to CEL values: integers become `int`, other numbers `double` (as in Kubernetes), objects
 * become maps. Integers beyond 2^53, which JSON.parse has already rounded, become doubles.
 */
export function celOfJson(value: unknown): CelInput {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : value;
  if (typeof value === 'string' || typeof value === 'boolean' || value === null) return value;
  if (Array.isArray(value)) return celList(value.map(celOfJson));
  if (typeof value !== 'object') return null;
  const entries = Object.entries(value).map(([key, entry]): [string, CelInput] => [key, celOfJson(entry)]);
  const map = celMap(new Map(entries));
  return entries.some(([, entry]) => entry === null) ? withNulls(map) : map;
}

/** Makes keys with a null value present: the map of the library reports them as absent. */
function withNulls(map: CelMap): CelMap {
  return Object.create(map, { has: { value: (key: string) => map.get(key) !== undefined } }) as CelMap;
}

/**
 * A list that was built here. Several lists may share their beginning: each sees the first `size` of
 * `elements`.
 */
interface Grown extends CelList {
  readonly elements: CelValue[];
  readonly size: number;
}

/** The library accepts only descendants of its own lists as lists. */
const grown = Object.create(celList([]), {
  get: {
    value(this: Grown, index: number) {
      return index < this.size ? this.elements[index] : undefined;
    },
  },
  values: { value: valuesOf },
  [Symbol.iterator]: { value: valuesOf },
}) as CelList;

function* valuesOf(this: Grown): Generator<CelValue> {
  for (let index = 0; index < this.size; index += 1) yield this.elements[index] as CelValue;
}

/**
 * Returns `left + right`. `map` and `filter` build their results by adding one element at a time. A list that
 * has not been extended yet is extended in place, so that n elements cost n steps. (The library's own lists
 * nest, and cost n² steps.)
 */
export function concatenated(left: CelList, right: CelList): CelList {
  const elements = isOpen(left) ? left.elements : [...left];
  for (const element of right) elements.push(element);
  const list = Object.create(grown) as { elements: CelValue[] };
  list.elements = elements;
  return Object.defineProperty(list, 'size', { value: elements.length }) as unknown as CelList;
}

/** Whether a list can be extended in place, because it has not been extended yet. */
export function isOpen(list: CelList): list is Grown {
  return Object.getPrototypeOf(list) === grown && (list as Grown).elements.length === list.size;
}

/**
 * Returns the steps that walking through a value costs: one for each value inside, and one for every 16
 * characters. Stops when the budget is used up.
 */
export function weightOf(value: unknown): number {
  if (typeof value === 'string' || value instanceof Uint8Array) return 1 + value.length / 16;
  if (isCelList(value)) return sum(value);
  return isCelMap(value) ? sum(value.keys()) + sum(value.values()) : 1;
}

function sum(values: Iterable<unknown>): number {
  let weight = 1;
  for (const value of values) weight += weightOf(value);
  return weight;
}
