import { join } from 'node:path';
import { callAdmin } from '../../cni-plugins/index.ts';
import type { Question } from './scene/probes.ts';
import { clusterAddress, gateway, hostAddress, ports } from './scene/scene.ts';
import type { Scene } from './scene/scene.ts';

/** Names of the victim, of the host, of the cluster and of other places; some do not exist. */
function names({ victim }: Scene): string[] {
  const ofVictim = ['web', 'vault', 'client', 'shop', 'store', 'tasks.shop'];
  return [
    ...ofVictim,
    ...ofVictim.flatMap((name) => [`${name}.pods`, `${name}.pods.portcullis.internal`]),
    ...['web', 'vault'].flatMap((name) => [
      `${name}.victim`,
      `${name}.victim.pods`,
      `${name}.victim.pods.portcullis.internal`,
    ]),
    victim.web.id.slice(0, 12),
    'web.shared',
    'web.victim.svc.cluster.local',
    'kubernetes.default.svc.cluster.local',
    ...[
      'kubernetes',
      'localhost',
      'node1',
      'com',
      'wpad',
      'tenant',
      'victim',
      'pods',
      'shared',
      'portcullis',
    ],
    ...[
      'example.com',
      'registry.example.com',
      'tasks.example.com',
      'metadata.google.internal',
      'missing.example.com',
      'missing',
    ],
    ...['portcullis.internal', 'pods.portcullis.internal', 'missing.pods.portcullis.internal'],
  ];
}

const reverse = (address: string): string => `${address.split('.').toReversed().join('.')}.in-addr.arpa`;

interface Asked {
  readonly who: 'host' | 'victim';
  readonly question: Question;
}

function questions(scene: Scene): Asked[] {
  const { web, vault, client } = scene.victim;
  const asked: Asked[] = [];
  for (const who of ['host', 'victim'] as const) {
    for (const name of names(scene))
      asked.push({ who, question: { kind: 'dns', host: gateway.four, name, type: 'A' } });
    for (const name of ['web', 'shop', 'kubernetes.default.svc.cluster.local', 'example.com'])
      asked.push({ who, question: { kind: 'dns', host: gateway.six, name, type: 'AAAA' } });
    for (const address of [web.address, vault.address, '10.231.0.1'])
      asked.push({ who, question: { kind: 'dns', host: gateway.four, name: reverse(address), type: 'PTR' } });
    asked.push({ who, question: { kind: 'dns', host: hostAddress, name: 'node1', type: 'A' } });
    const listeners = [
      ...[web, vault, client].map(({ address }) => [address, 8080] as const),
      [clusterAddress, 80],
      [clusterAddress, 81],
      ...Object.values(ports).map((port) => [hostAddress, port] as const),
      ...[80, 443, 2222, 8080, 30_081, 31_000].map((port) => [hostAddress, port] as const),
      ...Object.values(ports).map((port) => [gateway.four, port] as const),
    ] as const;
    for (const [host, port] of listeners) asked.push({ who, question: { kind: 'tcp', host, port } });
  }
  asked.push({ who: 'host', question: { kind: 'dns', host: '10.232.0.1', name: 'web', type: 'A' } });
  for (const port of Object.values(ports))
    asked.push({ who: 'host', question: { kind: 'tcp', host: '127.0.0.1', port } });
  return asked;
}

/**
 * Records which endpoint answers which client: names at the gateways and at the host's own server, and every
 * port of the victim and of the host.
 */
export async function askAround(scene: Scene): Promise<string[]> {
  return Promise.all(
    questions(scene).map(async ({ who, question }) => {
      const answer = await scene.askers[who].ask(question);
      const asked =
        question.kind === 'dns'
          ? `${question.name} ${question.type} of ${question.host}`
          : `${question.host}:${question.port}`;
      return `${question.kind} the ${who} asks ${asked}: ${answer}`;
    }),
  );
}

/** Returns the services of the host as the daemon lists them, without the connection counters. */
export async function services({ stage }: Scene): Promise<string[]> {
  const list = await callAdmin(join(stage.folders.state, 'admin.sock'), 'services/list', { most: 500 });
  if (!('value' in list)) return [`service the daemon does not list them: ${list.why}`];
  return list.value.services.map(({ name, backends, ...rest }) => {
    const served = backends.map(({ address, state, weight }) => [address, state, weight]);
    return `service ${name} ${JSON.stringify(still(rest))} ${JSON.stringify(served)}`;
  });
}

const still = (value: object): object =>
  Object.fromEntries(Object.entries(value).filter(([key]) => !/connections|denied|packets/u.test(key)));

/** Returns the daemon's statuses of the victim's pods and of images, and checks that no other pod exists. */
export async function statuses({ stage, victim }: Scene): Promise<string[]> {
  const { runtime, image } = stage.daemon.cri;
  const [pods, containers, images, ...each] = await Promise.all([
    runtime.listPodSandbox({}),
    runtime.listContainers({}),
    image.listImages({}),
    ...Object.values(victim).map(async ({ id, containerId }) => [
      (await runtime.podSandboxStatus({ podSandboxId: id })).status,
      (await runtime.containerStatus({ containerId })).status,
    ]),
  ]);
  return [
    ...pods.items.map(
      ({ id, metadata, state }) => `pod ${id} ${metadata?.namespace ?? ''}/${metadata?.name ?? ''} ${state}`,
    ),
    ...containers.containers.map(
      ({ id, podSandboxId, state }) => `container ${id} of ${podSandboxId} ${state}`,
    ),
    ...images.images.map(
      ({ id, repoTags, repoDigests }) => `image ${id} ${repoTags.join()} ${repoDigests.join()}`,
    ),
    ...each
      .flat()
      .map(
        (status) =>
          `status ${JSON.stringify(status, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value))}`,
      ),
  ];
}
