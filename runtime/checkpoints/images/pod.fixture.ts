import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseJson } from '../../../base/json/index.ts';
import type { OciSpec } from '../../oci/spec.types.ts';
import { imagesWith } from './counter.fixture.ts';
import type { Changed } from './counter.fixture.ts';
import type { Images } from './read-rights.ts';
import { restorable } from './restorable.ts';
import type { RestoreSpec } from './restorable.ts';

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
