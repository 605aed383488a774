/**
 * An API server that only lists and watches: Services and EndpointSlices, as many as its first argument says.
 * It replaces the real API server, in which so many objects could not be created in reasonable time. Its
 * parent sends the index of a service whose endpoints change.
 */
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createHttpServer } from '../../base/connections/index.ts';
import { protobufList } from '../fixtures/kubernetes/protobuf-list.ts';
import { namespace, podAddress, serviceOf, sliceOf } from './workload.ts';

const protobufType = 'application/vnd.kubernetes.protobuf';
const count = Number(process.argv[2]);
const byte = (index: number, shift: number): number => (index >> shift) & 255;
/** As the API server adds them. */
const added = (index: number, object: object): object => ({
  ...object,
  metadata: {
    ...(object as { metadata: object }).metadata,
    namespace,
    uid: `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`,
    resourceVersion: String(index + 1),
    creationTimestamp: '2026-01-01T00:00:00Z',
    managedFields: [{ manager: 'kubectl', operation: 'Update', apiVersion: 'v1', fieldsType: 'FieldsV1' }],
  },
});
const clusterAddress = (index: number): string =>
  `10.${96 + byte(index, 16)}.${byte(index, 8)}.${byte(index, 0)}`;

function service(index: number): object {
  const { spec, ...rest } = serviceOf(index) as { spec: Record<string, unknown> };
  const dual = 'ipFamilies' in spec;
  const ports = (spec['ports'] as readonly { port: number }[]).map((port, at) => ({
    protocol: 'TCP',
    ...port,
    ...(spec['type'] === 'ClusterIP' ? {} : { nodePort: 30_000 + ((index * 2 + at) % 32_768) }),
  }));
  const clusterIPs = [clusterAddress(index), ...(dual ? [`fd00:10:96::${index.toString(16)}`] : [])];
  return added(index, {
    ...rest,
    spec: { ...spec, ports, clusterIP: clusterIPs[0], clusterIPs, internalTrafficPolicy: 'Cluster' },
  });
}

/** Generated once: the time of a sync is not this server's. */
const indexes = Array.from({ length: count }, (_, index) => index + 1);
const pods = (index: number): readonly string[] => [0, 1, 2].map((at) => podAddress(index * 3 + at));
const version0 = String(count);
const lists: Readonly<Record<string, { readonly json: Buffer; readonly protobuf: Buffer }>> = {
  '/api/v1/services': listOf('Service', indexes.map(service)),
  '/apis/discovery.k8s.io/v1/endpointslices': listOf(
    'EndpointSlice',
    indexes.map((index) => added(index, sliceOf(index, pods(index)))),
  ),
};

function listOf(kind: 'EndpointSlice' | 'Service', items: readonly object[]) {
  const json = JSON.stringify({ kind: 'List', metadata: { resourceVersion: version0 }, items });
  return { json: Buffer.from(json), protobuf: protobufList(kind, version0, items) };
}

const streams = new Set<{ readonly path: string; readonly response: ServerResponse }>();
let version = count;
const server = createHttpServer((request, response) => {
  const { pathname: path, searchParams: query } = new URL(request.url ?? '', 'http://server');
  const list = lists[path];
  if (list === undefined) return void response.writeHead(404).end('{"kind":"Status","code":404}');
  if (query.get('watch') !== 'true') {
    const asked = request.headers.accept?.startsWith(protobufType) === true;
    if (asked) response.setHeader('content-type', protobufType);
    return void response.end(asked ? list.protobuf : list.json);
  }
  response.writeHead(200).flushHeaders();
  const stream = { path, response };
  streams.add(stream);
  response.once('close', () => streams.delete(stream));
});
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));

process.on('message', ({ index, addresses }: { index: number; addresses: readonly string[] }) => {
  version += 1;
  const object = added(index, sliceOf(index, addresses)) as { metadata: object };
  const changed = { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
  for (const { path, response } of streams)
    if (path.endsWith('slices')) response.write(`${JSON.stringify({ type: 'MODIFIED', object: changed })}\n`);
});
process.on('disconnect', () => process.exit());
