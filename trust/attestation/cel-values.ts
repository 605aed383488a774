import { celList, celMap, isCelList, isCelMap } from '@bufbuild/cel';
import type { CelInput, CelList, CelMap, CelValue } from '@bufbuild/cel';

/**
 * JSON as values of CEL: whole numbers are `int`, others `double` (as Kubernetes reads them), objects are maps.
 * Whole numbers beyond 2^53, which JSON.parse has rounded already, stay doubles.
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

/** A key whose value is null is there: the library's own map says that it is not. */
function withNulls(map: CelMap): CelMap {
  return Object.create(map, { has: { value: (key: string) => map.get(key) !== undefined } }) as CelMap;
}

/** A list that grew here. Several may share their beginning: each sees the first `size` of `elements`. */
interface Grown extends CelList {
  readonly elements: CelValue[];
  readonly size: number;
}

/** The library takes only what descends from its own lists for one. */
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
 * `left + right`. `map` and `filter` build their results by adding one element at a time: a list that nobody has continued yet
 * is continued in place, so that n elements cost n steps. (The library's own lists nest, and cost the square.)
 */
export function concatenated(left: CelList, right: CelList): CelList {
  const elements = isOpen(left) ? left.elements : [...left];
  for (const element of right) elements.push(element);
  const list = Object.create(grown) as { elements: CelValue[] };
  list.elements = elements;
  return Object.defineProperty(list, 'size', { value: elements.length }) as unknown as CelList;
}

/** Whether a list can be continued in place: nobody has done so yet. */
export function isOpen(list: CelList): list is Grown {
  return Object.getPrototypeOf(list) === grown && (list as Grown).elements.length === list.size;
}

/** How many steps it is to walk through a value: one for each value inside, and one for 16 characters. Stops when the budget does. */
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
