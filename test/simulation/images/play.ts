import { fileURLToPath } from 'node:url';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { loadPolicy } from '../../../trust/index.ts';
import type { Client } from '../client.ts';
import { hold } from '../invariants.ts';
import type { Choices } from '../play-steps.ts';
import { isWhole, storeRoot } from './images-node.ts';
import type { ImagesNode, ImagesWorld } from './images-node.ts';
import { shown } from './machine.ts';
import { layersByFolder } from './registry.ts';
import type { SimulatedImage } from './registry.ts';

const policyOf = async (name: string) =>
  (await loadPolicy({ paths: [fileURLToPath(new URL(`./policies/${name}.yaml`, import.meta.url))] })).policy;
export const [openPolicy, withoutB] = await Promise.all([policyOf('open'), policyOf('without-b')]);

/** What a kubelet knows of an image: it was told that it is there, and nobody has asked for its removal since. */
export interface KnownImage {
  readonly image: SimulatedImage;
  /** The name that it was pulled by last; empty where that may stand for another image by now. */
  reference: string;
}

/** A pull that is open. */
export interface OpenPull {
  readonly reference: string;
  /** No other pull of this name was open meanwhile. */
  isAlone: boolean;
}

export interface Play extends Choices {
  readonly world: ImagesWorld;
  readonly client: Client<ImagesNode>;
  /** By image id. */
  readonly known: Map<string, KnownImage>;
  /** Changes with every removal that is asked for, by image id: a pull beside it may have either outcome. */
  readonly removals: Map<string, number>;
  /** Images whose removal is asked for and not answered, so many times. */
  readonly removing: Map<string, number>;
  readonly pulls: Set<OpenPull>;
  /** Containers, with the image that each stands on. */
  readonly containers: Map<string, string>;
  /** Requests that are not answered yet. */
  readonly open: Set<Promise<void>>;
  /** Of the first of them that failed for good. */
  failure: { readonly cause: unknown } | undefined;
  /** Of the policy in force: a decision that it changes under may be either. */
  policyChanges: number;
  serial: number;
}

/** The layer lies in its place, whole. */
export function checkLayer(world: ImagesWorld, diffId: string, by: string): void {
  const hex = diffId.slice('sha256:'.length);
  const layer = layersByFolder.get(hex);
  const names = [...layersByFolder].filter(([, one]) => one === layer).map(([name]) => name);
  const whole = names.some((name) => isWhole(world.disk.find(`${storeRoot}/layers/${name}/fs`), layer));
  hold('whole images', whole, `${by} has layer ${shown(hex)}, which is not whole`);
}

/** Waits for the requests that are open. */
export async function answered({ client, open }: Play): Promise<void> {
  while (open.size > 0) await client.drive(Promise.all(open));
}

const passing = ['IMAGES_DISK_FULL', 'IMAGES_NOT_DURABLE', 'IMAGES_STORE_FAILED', 'IMAGES_LAYER_UNCHECKED'];

/** Whether faults explain a failure. */
export function passes(cause: unknown): boolean {
  if (!(cause instanceof Error)) return false;
  if (cause.message.includes('simulated') || (isPortcullisError(cause) && cause.code === 'SIMULATED_FAULT')) return true;
  return isPortcullisError(cause) && passing.includes(cause.code);
}
