import { victimNamespace } from '../scene/scene.ts';
import type { Scene } from '../scene/scene.ts';
import { long, metadata, podPart, table } from './variant.ts';
import type { Variant } from './variant.ts';

/** Characters that a reader of a name may misinterpret. */
const odd: readonly (readonly [string, string])[] = [
  ['empty', ''],
  ['..', '..'],
  ['a path', '../../etc'],
  ['absolute', '/etc'],
  ['a line feed', 'a\nb'],
  ['a NUL', 'a\0b'],
  ['256 letters', long(256)],
  ['253 letters', long(253)],
  ['a look-alike', 'wеb'],
  ['right to left', '\u202ebew'],
  ['a blank', 'a b'],
  ['an option', '--help'],
  ['__proto__', '__proto__'],
  ['a percent sign', '%2e%2e%2f'],
  ['a quotation mark', `a"'$(id)`],
  ['a semicolon', 'a;b'],
];

const podNames: readonly Variant[] = [
  ...table(
    'pod names',
    odd.map(([what, name]) => [what, { name }] as const),
    metadata,
  ),
  ...table(
    'pod names',
    [
      ...[
        'web',
        'vault',
        'client',
        'shop',
        'store',
        'WEB',
        'kubernetes',
        'localhost',
        'node1',
        'com',
        'wpad',
        'pods',
        'shared',
        'portcullis',
        'victim',
        'tasks',
      ].map((name) => [`of ${name}`, { name }] as const),
      ...[
        'kubernetes.default.svc.cluster.local',
        'example.com',
        'web.victim',
        'tasks.shop',
        'web.pods',
        'web.victim.pods.portcullis.internal',
        'web.',
      ].map((name) => [`of ${name}`, { name }] as const),
      ['of the victim’s short id', (scene: Scene) => ({ name: scene.victim.web.id.slice(0, 12) })],
      ['of the victim’s id', (scene: Scene) => ({ name: scene.victim.web.id })],
      ['of an address', (scene: Scene) => ({ name: scene.victim.web.address })],
    ],
    metadata,
  ),
];

const otherMetadata: readonly Variant[] = [
  ...table(
    'namespaces',
    odd.map(([what, namespace]) => [what, { namespace }] as const),
    metadata,
  ),
  ...table(
    'uids',
    odd.map(([what, uid]) => [what, { uid }] as const),
    metadata,
  ),
  ...table(
    'names of others',
    [
      ['the victim’s uid', (scene: Scene) => ({ uid: scene.victim.web.config.metadata?.uid ?? '' })],
      // As the kubelet of a replaced API server sends it: not the tenant, yet no other pod may change.
      ['the victim’s whole metadata', (scene: Scene) => ({ ...scene.victim.web.config.metadata })],
      ['a namespace that differs in case', { namespace: victimNamespace.toUpperCase() }],
      ['a namespace that docker has', { namespace: '(docker)' }],
      ['a namespace that callers have', { namespace: '(cni)' }],
      [
        'names whose sum is the victim’s',
        (scene: Scene) => ({
          name: `web_${victimNamespace}`,
          namespace: scene.victim.web.config.metadata?.uid ?? '',
          uid: '0',
        }),
      ],
      ['the last attempt of all', { attempt: 4_294_967_295 }],
    ],
    metadata,
  ),
];

const hostnames: readonly Variant[] = table(
  'host names',
  [
    ...odd,
    ['the victim’s', 'web'] as const,
    ['an address', '10.231.0.2'] as const,
    ['64 letters', long(64)] as const,
  ].map(([what, hostname]) => [what, { hostname }] as const),
  podPart,
);

const labels: readonly Variant[] = table(
  'labels',
  (
    [
      ['of the victim’s service', { app: 'web' }],
      ['of whom its policy lets in', { app: 'client' }],
      ['of the vault', { app: 'vault' }],
      [
        'of the victim’s namespace',
        {
          app: 'client',
          'io.kubernetes.pod.namespace': victimNamespace,
          'kubernetes.io/metadata.name': victimNamespace,
        },
      ],
      [
        'of a static pod',
        { 'io.kubernetes.pod.name': 'web', 'io.kubernetes.pod.uid': 'uid-of-web', tier: 'control-plane' },
      ],
      [
        'of docker’s services',
        { 'portcullis.dev/services': JSON.stringify([{ name: 'shop', ingressPorts: ['22:22'] }]) },
      ],
      ['ten thousand', Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`l${index}`, 'x']))],
      ['odd', { '\n': '\n', '': '', __proto__: 'x' }],
    ] as const
  ).map(([what, more]) => [what, { labels: more }] as const),
  podPart,
);

export const nameVariants: readonly Variant[] = [...podNames, ...otherMetadata, ...hostnames, ...labels];
