import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseJson } from '../../../base/json/index.ts';
import type { OciSpec } from '../../oci/spec.types.ts';
import { imagesWith } from './counter.fixture.ts';
import type { Changed } from './counter.fixture.ts';
import type { Images } from './read-rights.ts';
import { restorable } from './restorable.ts';
import type { RestoreSpec } from './restorable.ts';
import { encode } from './write-image.ts';

const folder = join(import.meta.dirname, 'pod-fixtures');
const files = readdirSync(folder).filter((name) => name !== 'spec.json');
const all = new Map(files.map((name) => [name, readFileSync(join(folder, name))]));

/** The specification of a container in a pod that counted in a shell, and had a profile of AppArmor. */
export const podSpec = parseJson(readFileSync(join(folder, 'spec.json'), 'utf8')) as OciSpec;

/** The images that criu 3.17.1 wrote for it, without memory; some images are replaced. */
export function podImages(changed: Changed = {}): Images {
  return imagesWith(all, changed);
}

/** Replaces some bytes of an image at all places; its messages keep their lengths. */
export function replaced(
  name: string,
  from: string | Uint8Array,
  to: string | Uint8Array,
): Record<string, Buffer> {
  const content = Buffer.from(podImages().read(name));
  const [old, fresh] = [Buffer.from(from), Buffer.from(to)];
  if (old.length !== fresh.length || !content.includes(old))
    throw new Error(`${name} has no ${String(from)}`);
  for (let at = content.indexOf(old); at !== -1; at = content.indexOf(old, at + 1)) fresh.copy(content, at);
  return { [name]: content };
}

/** Adds a message to an image. */
export function added(name: string, message: Uint8Array): Record<string, Buffer> {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(message.length);
  return { [name]: Buffer.concat([podImages().read(name), length, message]) };
}

/**
 * Adds a field to the first message of an image, inside the messages with these numbers.
 * @param instead a field that is removed there
 */
export function inside(
  name: string,
  path: readonly number[],
  field: Uint8Array,
  instead?: number,
): Record<string, Buffer> {
  const bytes = podImages().read(name);
  const end = 12 + Buffer.from(bytes).readUInt32LE(8);
  const message = withIn(bytes.subarray(12, end), path, field, instead);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(message.length);
  return { [name]: Buffer.concat([bytes.subarray(0, 8), length, message, bytes.subarray(end)]) };
}

function withIn(
  message: Uint8Array,
  [next, ...rest]: readonly number[],
  field: Uint8Array,
  instead: number | undefined,
): Uint8Array {
  const parts: Uint8Array[] = [];
  let at = 0;
  let isDone = false;
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = message[at] ?? 0;
      at += 1;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.length) {
    const begin = at;
    const tag = varint();
    const length = tag % 8 === 2 ? varint() : (varint(), 0);
    const content = message.subarray(at, at + length);
    at += length;
    const number = Math.floor(tag / 8);
    if (number === next && !isDone) {
      isDone = true;
      parts.push(encode([[number, withIn(content, rest, field, instead)]]));
    } else if (next !== undefined || number !== instead) parts.push(message.subarray(begin, at));
  }
  return Buffer.concat(next === undefined ? [...parts, field] : parts);
}

/** Why the images are not restored, as one text. */
export function whyRefused(
  changed: Readonly<Record<string, Uint8Array | undefined>>,
  spec: RestoreSpec = podSpec,
): string {
  try {
    return restorable(podImages(changed), spec)
      .refused.map(({ what }) => what)
      .join(', ');
  } catch (cause) {
    return String(cause);
  }
}
