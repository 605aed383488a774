import { fileURLToPath } from 'node:url';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { loadPolicy } from '../../../trust/index.ts';
import type { Client } from '../engine/client.ts';
import { hold } from '../engine/invariants.ts';
import type { Choices } from '../engine/play-steps.ts';
import { isWhole, storeRoot } from './images-node.ts';
import type { ImagesNode, ImagesWorld } from './images-node.ts';
import { shown } from './machine.ts';
import { layersByFolder } from './registry.ts';
import type { SimulatedImage } from './registry.ts';

const policyOf = async (name: string) =>
  (await loadPolicy({ paths: [fileURLToPath(new URL(`./policies/${name}.yaml`, import.meta.url))] })).policy;
export const [openPolicy, withoutB] = await Promise.all([policyOf('open'), policyOf('without-b')]);

/**
 * A kubelet's knowledge of an image: the kubelet has heard that the image exists, and has not requested its
 * removal since.
 */
export interface KnownImage {
  readonly image: SimulatedImage;
  /** The name of the last pull; empty if that may refer to another image by now. */
  reference: string;
}

/** A pull without an answer yet. */
export interface OpenPull {
  readonly reference: string;
  /** No other pull of this name was open meanwhile. */
  isAlone: boolean;
  /** Cancels it. */
  readonly stop: AbortController;
}

export interface Play extends Choices {
  readonly world: ImagesWorld;
  readonly client: Client<ImagesNode>;
  /** Known images by image id. */
  readonly known: Map<string, KnownImage>;
  /** Changes with every requested removal, by image id: a concurrent pull may have either outcome. */
  readonly removals: Map<string, number>;
  /** Images with the number of requested removals that are not answered. */
  readonly removing: Map<string, number>;
  readonly pulls: Set<OpenPull>;
  /** The image of the last pull that began. */
  lastPulled: SimulatedImage | undefined;
  /** Containers, with the image that each uses. */
  readonly containers: Map<string, string>;
  /** Requests without an answer yet. */
  readonly open: Set<Promise<void>>;
  /** The failure of the first request that failed permanently. */
  failure: { readonly cause: unknown } | undefined;
  /** The number of policy changes: a decision during a change may have either outcome. */
  policyChanges: number;
  serial: number;
}

/** Checks that the layer is in its place, whole. */
export function checkLayer(world: ImagesWorld, diffId: string, by: string): void {
  const hex = diffId.slice('sha256:'.length);
  const layer = layersByFolder.get(hex);
  const names = [...layersByFolder].filter(([, one]) => one === layer).map(([name]) => name);
  const whole = names.some((name) => isWhole(world.disk.find(`${storeRoot}/layers/${name}/fs`), layer));
  hold('whole images', whole, `${by} has layer ${shown(hex)}, which is not whole`);
}

/** Waits for the open requests. */
export async function answered({ client, open }: Play): Promise<void> {
  while (open.size > 0) await client.drive(Promise.all(open));
}

const passing = [
  ...['IMAGES_DISK_FULL', 'IMAGES_NOT_DURABLE', 'IMAGES_STORE_FAILED', 'IMAGES_LAYER_UNCHECKED'],
  ...['STORAGE_DISK_FULL', 'STORAGE_NO_ACCESS', 'STORAGE_NO_DESCRIPTORS', 'STORAGE_READ_ONLY'],
];

/** Returns whether faults explain a failure. */
export function passes(cause: unknown): boolean {
  if (!(cause instanceof Error)) return false;
  if (cause.message.includes('simulated') || (isPortcullisError(cause) && cause.code === 'SIMULATED_FAULT'))
    return true;
  return isPortcullisError(cause) && passing.includes(cause.code);
}
