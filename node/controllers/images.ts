import { fingerprintOf } from '../model/fingerprint.ts';
import type { Change, Controller, Item, Limits, NodeState, Observed } from '../model/types.ts';
import { askMs, pullMs } from './node-access.ts';
import type { DaemonAccess } from './node-access.ts';

const present = 'present';

/** Images that the node keeps. The daemon pulls them, so its policy decides. */
export function imageController({ cri }: DaemonAccess): Controller {
  return {
    section: 'images',
    after: ['policies'],
    foreign: 'shared',
    backsOff: false,
    schema: {
      type: 'array',
      description:
        'Images that the node holds. Each is pulled by the daemon, so the policy decides, and pulled again when it is gone. An image that was pulled for the state is removed when it leaves the state. A tag is not followed: name a digest, or another tag.',
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
      const found = new Map<string, Observed>();
      for (const name of names) {
        const { image } = await cri.image.imageStatus({ image: { image: name } }, within(askMs, limits));
        if (image !== undefined) found.set(name, { visible: present, shown: image.id });
      }
      return found;
    },
    async apply({ action, name }: Change, state, limits) {
      const image = { image: name };
      if (action === 'delete') return void (await cri.image.removeImage({ image }, within(askMs, limits)));
      const { namespace = 'default' } = state.images.find((one) => one.image === name) ?? {};
      const metadata = { name: 'node-state', uid: 'node-state', namespace, attempt: 0 };
      await cri.image.pullImage({ image, sandboxConfig: { metadata } }, within(pullMs, limits));
    },
  };
}

const within = (timeoutMs: number, { signal }: Limits) => ({ timeoutMs, signal });
