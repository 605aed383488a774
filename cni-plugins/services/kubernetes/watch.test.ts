import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createHttpServer } from '../../../base/connections/index.ts';
import { freePort } from '../../../test/fixtures/free-port.ts';
import type { PortionControl, Service } from '../model/model.ts';
import { watchKubernetesServices } from './watch.ts';

/**
 * Tests the whole path from a kubeconfig to a control, over loopback. `npm run test:services-watch` uses a
 * real API server.
 */

const service = (name: string, spec: object = {}): object => ({
  metadata: { namespace: 'shop', name, resourceVersion: '2' },
  spec: { clusterIP: '10.96.0.1', ports: [{ port: 80, targetPort: 8080 }], ...spec },
});
const slice = (owner: string, node: string): object => ({
  metadata: {
    namespace: 'shop',
    name: `${owner}-1`,
    resourceVersion: '2',
    labels: { 'kubernetes.io/service-name': owner },
  },
  addressType: 'IPv4',
  ports: [{ port: 8080 }],
  endpoints: [{ addresses: ['10.0.0.1'], nodeName: node }],
});

/** Lists the given objects, streams the events that the test sends, and accepts the current token only. */
async function startApi(objects: Readonly<Record<string, readonly object[]>>) {
  const streams: { readonly path: string; readonly response: ServerResponse }[] = [];
  const state = { token: 'first' };
  const server = createHttpServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://server');
    if (request.headers.authorization !== `Bearer ${state.token}`)
      return void response.writeHead(401).end('{"message":"Unauthorized"}');
    if (pathname === networking && objects[serviceCidrs] !== undefined)
      return void response.end(JSON.stringify({ resources: [{ name: 'servicecidrs' }] }));
    if (searchParams.get('watch') !== 'true')
      return void response.end(
        JSON.stringify({ metadata: { resourceVersion: '2' }, items: objects[pathname] }),
      );
    response.writeHead(200).flushHeaders();
    streams.push({ path: pathname, response });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    state,
    streams,
    port: (server.address() as AddressInfo).port,
    send(path: string, type: string, object: object): void {
      for (const stream of streams)
        if (stream.path === path) stream.response.write(`${JSON.stringify({ type, object })}\n`);
    },
    breakOff: () => server.closeAllConnections(),
    close(): void {
      server.closeAllConnections();
      server.close();
    },
  };
}

const [services, slices] = ['/api/v1/services', '/apis/discovery.k8s.io/v1/endpointslices'];
const nodes = '/api/v1/nodes';
const networking = '/apis/networking.k8s.io/v1';
const serviceCidrs = `${networking}/servicecidrs`;
const ownFolder = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-watch-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
};
const until = async (is: () => boolean | Promise<boolean>): Promise<void> => {
  while (!(await is())) await sleep(5);
};

test(
  'services of a cluster are delivered: all at once, then each change, with a renewed token, health checks, and no secret in the log',
  { timeout: 60_000 },
  async (t) => {
    const folder = ownFolder();
    const healthCheckNodePort = await freePort();
    const local = service('local', {
      type: 'LoadBalancer',
      externalTrafficPolicy: 'Local',
      healthCheckNodePort,
      externalIPs: ['192.0.2.1'],
    });
    const api = await startApi({
      [services]: [service('web'), local],
      [slices]: [slice('web', 'there'), slice('local', 'here')],
    });
    writeFileSync(join(folder, 'token'), 'first');
    const kubeconfig = join(folder, 'kubeconfig');
    const server = `http://127.0.0.1:${api.port}`;
    writeFileSync(
      kubeconfig,
      JSON.stringify({
        'current-context': 'c',
        contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
        clusters: [{ name: 'c', cluster: { server } }],
        users: [{ name: 'u', user: { tokenFile: 'token' } }],
      }),
    );
    const reported: string[] = [];
    const control: PortionControl = {
      retain: async (source, names) => void reported.push(`${source} retain ${names.join()}`),
      put: async (_source, some) => (
        reported.push(`put ${some.map(({ name, backends }) => `${name} ${backends.length}`).join()}`),
        []
      ),
      remove: async (_source, names) => void reported.push(`remove ${names.join()}`),
    };
    const logged: string[] = [];
    const write = (fields: object, message: string): void =>
      void logged.push(`${message} ${JSON.stringify(fields)}`);
    const watch = watchKubernetesServices({
      place: { kubeconfig },
      nodeName: 'here',
      control,
      log: { info: write, warn: write },
      timing: { firstWait: 2, longestWait: 20 },
    });
    t.after(async () => {
      await watch.close();
      api.close();
      rmSync(folder, { recursive: true });
    });

    await watch.synced;
    assert.deepEqual(reported, [
      'kubernetes retain shop/web,shop/local,shop/local.external',
      'put shop/web 1,shop/local 1,shop/local.external 1',
    ]);
    const ask = async (): Promise<string> => {
      const answer = await fetch(`http://127.0.0.1:${healthCheckNodePort}/`);
      return `${answer.status} ${answer.headers.get('x-load-balancing-endpoint-weight') ?? ''} ${await answer.text()}`;
    };
    await until(() => ask().then(() => true, () => false)); // oxfmt-ignore
    assert.equal(
      await ask(),
      '200 1 {"service":{"namespace":"shop","name":"local"},"localEndpoints":1,"serviceProxyHealthy":true}',
    );

    await until(() => api.streams.length === 3);
    api.send(slices, 'MODIFIED', { ...slice('local', 'here'), endpoints: [] });
    await until(() => reported.length === 3);
    assert.equal(reported[2], 'put shop/local 0,shop/local.external 0');
    await until(async () => (await ask()).startsWith('503 0 '));

    // The token is renewed: the old one is refused, the new one is accepted.
    api.state.token = 'second';
    api.breakOff();
    // Not a part of the server's port.
    await until(() => /\b401\b/u.test(watch.figures().away ?? ''));
    writeFileSync(join(folder, 'token'), 'second');
    await until(() => watch.figures().away === undefined);
    await until(() => api.streams.length === 6);
    api.send(services, 'DELETED', service('local'));
    await until(() => reported.length === 4);
    assert.equal(reported[3], 'remove shop/local,shop/local.external');
    await until(() => ask().then(() => false, () => true)); // oxfmt-ignore
    assert.deepEqual(
      { ...watch.figures(), failures: 0 },
      { synced: true, services: 1, slices: 2, refused: 0, events: 2, lists: 3, failures: 0 },
    );
    assert.match(logged.join('\n'), /renew the credentials[\s\S]*watched again/u);
    assert.doesNotMatch(logged.join('\n'), /"?(?:first|second)"?/u);
  },
);

test(
  'a missing kubeconfig is awaited; closing before all services have arrived is an error',
  { timeout: 60_000 },
  async () => {
    const logged: string[] = [];
    const write = (fields: object, message: string): void =>
      void logged.push(`${message} ${JSON.stringify(fields)}`);
    const control: PortionControl = {
      retain: () => assert.fail(),
      put: () => assert.fail(),
      remove: () => assert.fail(),
    };
    const watch = watchKubernetesServices({
      place: { kubeconfig: '/nonexistent/kubeconfig' },
      nodeName: 'here',
      control,
      log: { info: write, warn: write },
    });
    await until(() => watch.figures().failures >= 4);
    await watch.close();
    await assert.rejects(watch.synced, {
      code: 'KUBERNETES_API_UNREACHABLE',
      message: /closed before all services had arrived/u,
    });
    // Logged once for each collection, however often it was tried.
    assert.equal(logged.filter((line) => line.includes('KUBERNETES_KUBECONFIG_UNREADABLE')).length, 3);
  },
);

const kubeconfigFor = (port: number): string => {
  const kubeconfig = join(ownFolder(), 'kubeconfig');
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      'current-context': 'c',
      contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
      clusters: [{ name: 'c', cluster: { server: `http://127.0.0.1:${port}` } }],
      users: [{ name: 'u', user: { token: 'first' } }],
    }),
  );
  return kubeconfig;
};

test(
  'the Node object determines the zone, the addresses of node ports, and whether load balancers may use the node',
  { timeout: 60_000 },
  async (t) => {
    const node = (
      zone: string,
      more: { readonly address?: string; readonly taints?: object[] } = {},
    ): object => ({
      metadata: { name: 'here', resourceVersion: '2', labels: { 'topology.kubernetes.io/zone': zone } },
      spec: {
        taints: more.taints ?? [],
        ...(more.address === undefined && { podCIDRs: ['10.244.3.0/24', 'fd00:244:3::/64'] }),
      },
      status: {
        addresses: [
          { type: 'Hostname', address: 'here' },
          { type: 'ExternalIP', address: '198.51.100.1' },
          { type: 'InternalIP', address: more.address ?? '192.0.2.9' },
        ],
      },
    });
    const hinted = (address: string, zone: string): object => ({
      addresses: [address],
      hints: { forZones: [{ name: zone }] },
    });
    const api = await startApi({
      [nodes]: [node('east')],
      [services]: [
        service('web', {
          type: 'NodePort',
          externalTrafficPolicy: 'Local',
          ports: [{ port: 80, targetPort: 8080, nodePort: 30_080 }],
        }),
      ],
      [slices]: [
        { ...slice('web', 'there'), endpoints: [hinted('10.0.0.1', 'east'), hinted('10.0.0.2', 'west')] },
      ],
    });
    const applied = new Map<string, Service>();
    const control: PortionControl = {
      retain: async () => undefined,
      put: async (_source, some) => (some.forEach((each) => applied.set(each.name, each)), []),
      remove: async () => undefined,
    };
    const port = await freePort();
    const watch = watchKubernetesServices({
      place: { kubeconfig: kubeconfigFor(api.port) },
      nodeName: 'here',
      nodePortAddresses: ['primary'],
      health: { address: '127.0.0.1', port },
      control,
      log: { info: () => undefined, warn: () => undefined },
      timing: { firstWait: 5, longestWait: 20, gather: 5 },
    });
    t.after(async () => {
      await watch.close();
      api.close();
    });
    await watch.synced;
    const backends = (): string[] => applied.get('shop/web')?.backends.map(({ address }) => address) ?? [];
    const nodeAddresses = (): readonly string[] => applied.get('shop/web.external')?.nodeAddresses ?? [];
    const podRanges = (): readonly string[] => applied.get('shop/web.external')?.insideSources ?? [];
    const health = async (path: string): Promise<readonly [number, unknown]> => {
      const answer = await fetch(`http://127.0.0.1:${port}${path}`);
      const text = await answer.text();
      return [
        answer.status,
        text === '' ? undefined : (JSON.parse(text) as { nodeEligible?: boolean }).nodeEligible,
      ];
    };
    assert.deepEqual([backends(), nodeAddresses()], [['10.0.0.1'], ['192.0.2.9']]);
    assert.deepEqual(podRanges(), ['10.244.3.0/24', 'fd00:244:3::/64']);
    assert.deepEqual(await health('/healthz'), [200, true]);
    assert.deepEqual(await health('/livez'), [200, undefined]);
    assert.deepEqual(await health('/metrics'), [404, undefined]);

    await until(() => api.streams.length === 3);
    api.send(nodes, 'MODIFIED', node('west', { address: '192.0.2.10' }));
    await until(() => backends().join() === '10.0.0.2' && nodeAddresses().join() === '192.0.2.10');
    assert.deepEqual(podRanges(), []);
    api.send(
      nodes,
      'MODIFIED',
      node('west', {
        address: '192.0.2.10',
        taints: [{ key: 'ToBeDeletedByClusterAutoscaler', effect: 'NoSchedule' }],
      }),
    );
    await until(async () => (await health('/healthz'))[0] === 503);
    assert.deepEqual(await health('/healthz'), [503, false]);
    assert.deepEqual(await health('/livez'), [200, undefined]);
  },
);

test('health checks fail until the services are in force', { timeout: 60_000 }, async (t) => {
  const api = await startApi({ [nodes]: [], [services]: [service('web')], [slices]: [slice('web', 'here')] });
  const port = await freePort();
  let isStuck = true;
  const release: (() => void)[] = [];
  const control: PortionControl = {
    retain: () => (isStuck ? new Promise<void>((resolve) => void release.push(resolve)) : Promise.resolve()),
    put: async () => [],
    remove: async () => undefined,
  };
  const watch = watchKubernetesServices({
    place: { kubeconfig: kubeconfigFor(api.port) },
    nodeName: 'here',
    health: { address: '127.0.0.1', port },
    control,
    log: { info: () => undefined, warn: () => undefined },
    timing: { firstWait: 5, longestWait: 20, gather: 5 },
  });
  t.after(async () => {
    await watch.close();
    api.close();
  });
  const status = async (path: string): Promise<number> =>
    (await fetch(`http://127.0.0.1:${port}${path}`)).status;
  await until(() => release.length > 0);
  assert.deepEqual([await status('/healthz'), await status('/livez')], [503, 503]);
  isStuck = false;
  release.forEach((each) => each());
  await watch.synced;
  assert.deepEqual([await status('/healthz'), await status('/livez')], [200, 200]);
});

test(
  'the ranges of cluster addresses are followed, except ranges that contain the API server',
  { timeout: 60_000 },
  async (t) => {
    const range = (name: string, ...cidrs: readonly string[]): object => ({
      metadata: { name, resourceVersion: '2' },
      spec: { cidrs },
    });
    const api = await startApi({
      [nodes]: [],
      [services]: [],
      [slices]: [],
      [serviceCidrs]: [range('kubernetes', '10.96.0.0/16', 'fd00:96::/112'), range('wrong', '127.0.0.0/8')],
    });
    const [found, warned]: [string[], string[]] = [[], []];
    const watch = watchKubernetesServices({
      place: { kubeconfig: kubeconfigFor(api.port) },
      nodeName: 'here',
      control: { retain: async () => undefined, put: async () => [], remove: async () => undefined },
      onRanges: (prefixes) => void found.push(prefixes.join(' ')),
      log: { info: () => undefined, warn: (fields) => void warned.push(JSON.stringify(fields)) },
      timing: { firstWait: 5, longestWait: 20, gather: 5 },
    });
    t.after(async () => {
      await watch.close();
      api.close();
    });
    await until(() => found.length === 1 && api.streams.some(({ path }) => path === serviceCidrs));
    api.send(serviceCidrs, 'ADDED', range('more', '10.97.0.0/24'));
    await until(() => found.length === 2);
    api.send(serviceCidrs, 'DELETED', range('kubernetes'));
    await until(() => found.length === 3);
    assert.deepEqual(found, [
      '10.96.0.0/16 fd00:96::/112',
      '10.96.0.0/16 10.97.0.0/24 fd00:96::/112',
      '10.97.0.0/24',
    ]);
    assert.deepEqual(warned, ['{"why":"127.0.0.0/8 contains 127.0.0.1, which is not a Service address"}']);
  },
);

test(
  'a range with an address of the node is left out, whenever the Node object arrives or changes',
  { timeout: 60_000 },
  async (t) => {
    const node = (address: string): object => ({
      metadata: { name: 'here', resourceVersion: '3' },
      status: { addresses: [{ type: 'InternalIP', address }] },
    });
    const api = await startApi({
      [nodes]: [node('10.96.7.7')],
      [services]: [],
      [slices]: [],
      [serviceCidrs]: [
        { metadata: { name: 'kubernetes', resourceVersion: '2' }, spec: { cidrs: ['10.96.0.0/16'] } },
      ],
    });
    const found: string[] = [];
    const watch = watchKubernetesServices({
      place: { kubeconfig: kubeconfigFor(api.port) },
      nodeName: 'here',
      control: { retain: async () => undefined, put: async () => [], remove: async () => undefined },
      onRanges: (prefixes) => void found.push(prefixes.join(' ')),
      log: { info: () => undefined, warn: () => undefined },
      timing: { firstWait: 5, longestWait: 20, gather: 5 },
    });
    t.after(async () => {
      await watch.close();
      api.close();
    });
    await until(() => found.length === 1 && api.streams.some(({ path }) => path === nodes));
    api.send(nodes, 'MODIFIED', node('192.0.2.1'));
    await until(() => found.length === 2);
    assert.deepEqual(found, ['', '10.96.0.0/16']);
  },
);

test('no Service is served at the address of the name server of the node', { timeout: 60_000 }, async (t) => {
  const folder = ownFolder();
  const api = await startApi({
    [services]: [service('hijack', { externalIPs: ['169.254.20.10', '192.0.2.1'] })],
    [slices]: [slice('hijack', 'here')],
    [nodes]: [],
  });
  const kubeconfig = join(folder, 'kubeconfig');
  const cluster = { server: `http://127.0.0.1:${api.port}` };
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      'current-context': 'c',
      contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
      clusters: [{ name: 'c', cluster }],
      users: [{ name: 'u', user: { token: 'first' } }],
    }),
  );
  const served: Service[] = [];
  const watched = watchKubernetesServices({
    ...{ place: { kubeconfig }, nodeName: 'here', nameServer: '169.254.20.10' },
    control: {
      retain: async () => undefined,
      put: async (_source, some) => (served.push(...some), []),
      remove: async () => undefined,
    },
    log: { info: () => undefined, warn: () => undefined },
  });
  t.after(async () => {
    await watched.close();
    api.close();
    rmSync(folder, { recursive: true });
  });
  await watched.synced;
  assert.deepEqual(
    served.flatMap(({ externalAddresses }) => externalAddresses),
    ['192.0.2.1'],
  );
});
