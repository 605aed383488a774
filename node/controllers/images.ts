import { formatReference, parseReference } from '../../base/distribution/index.ts';
import { fingerprintOf } from '../model/fingerprint.ts';
import type { Change, Controller, Item, Limits, NodeState, Observed } from '../model/types.ts';
import { askMs, pullMs } from './node-access.ts';
import type { DaemonAccess } from './node-access.ts';

const present = 'present';

/** Images that the node keeps. The daemon pulls them, so its policy decides. */
export function imageController({ cri }: DaemonAccess): Controller {
  /** The names of the state, and those that were pulled for an earlier state. */
  let known: ReadonlySet<string> = new Set();
  const stays = async (name: string, state: NodeState, limits: Limits): Promise<boolean> => {
    const held = (await cri.image.imageStatus({ image: { image: name } }, within(askMs, limits))).image;
    const wanted = state.images.map((one) => one.image);
    const leaving = [name, ...known].filter((one) => !wanted.includes(one));
    // The daemon removes an image with all of its names.
    return held === undefined || hasOtherName(held, leaving, wanted);
  };
  return {
    section: 'images',
    after: ['policies'],
    foreign: 'shared',
    backsOff: false,
    atOnce: 4,
    schema: {
      type: 'array',
      description:
        'Images that the node holds. Each is pulled by the daemon, so the policy decides, and pulled again when it is gone. An image that was pulled for the state is removed when it leaves the state, unless it has another name by then. A tag is not followed: name a digest, or another tag.',
      maxItems: 500,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['image'],
        properties: {
          image: {
            type: 'string',
            pattern: '^[^\\s]{1,512}$',
            description: 'Reference, such as `registry.example.com/shop/app@sha256:…`.',
          },
          namespace: {
            type: 'string',
            pattern: '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$',
            description: 'Namespace that the policy decides for. Default: `default`.',
          },
        },
      },
    },
    items: ({ images }: NodeState) =>
      new Map(
        images.map((image): [string, Item] => [
          image.image,
          { fingerprint: fingerprintOf(image), visible: present, shown: present },
        ]),
      ),
    async observe(names, limits) {
      known = names;
      const found = new Map<string, Observed>();
      for (const name of names) {
        const { image } = await cri.image.imageStatus({ image: { image: name } }, within(askMs, limits));
        if (image !== undefined) found.set(name, { visible: present, shown: image.id });
      }
      return found;
    },
    stays,
    async apply({ action, name }: Change, state, limits) {
      const image = { image: name };
      if (action === 'delete') {
        if (await stays(name, state, limits)) return;
        return void (await cri.image.removeImage({ image }, within(askMs, limits)));
      }
      const { namespace = 'default' } = state.images.find((one) => one.image === name) ?? {};
      const metadata = { name: 'node-state', uid: 'node-state', namespace, attempt: 0 };
      await cri.image.pullImage({ image, sandboxConfig: { metadata } }, within(pullMs, limits));
    },
  };
}

const within = (timeoutMs: number, { signal }: Limits) => ({ timeoutMs, signal });

/** Whether an image has a name that the state still has, or that somebody else gave it. */
function hasOtherName(
  { id, repoTags, repoDigests }: Held,
  leaving: readonly string[],
  wanted: readonly string[],
): boolean {
  const names = new Set(leaving.map((name) => normalized(name).text));
  // A pull by tag also gives the image its digest in the same repository.
  const repositories = new Set(leaving.map((name) => normalized(name).repository));
  const kept = new Set([...wanted, ...wanted.map((name) => normalized(name).text)]);
  return (
    kept.has(id) ||
    repoTags.some((tag) => !names.has(tag)) ||
    repoDigests.some((digest) => kept.has(digest) || !repositories.has(normalized(digest).repository))
  );
}

interface Held {
  readonly id: string;
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
}

/** Returns a name in the form in which the daemon lists names. */
function normalized(name: string): { readonly text: string; readonly repository: string } {
  try {
    const { registry, repository, tag = 'latest', digest } = parseReference(name);
    const text = formatReference({ registry, repository, ...(digest === undefined ? { tag } : { digest }) });
    return { text, repository: `${registry}/${repository}` };
  } catch {
    return { text: name, repository: name };
  }
}
