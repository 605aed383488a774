import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createHttpServer } from '../../base/connections/index.ts';
import { protobufList } from '../fixtures/kubernetes/protobuf-list.ts';

/**
 * An API server that lists and watches, without admission: each proxy gets the same objects in the same
 * order.
 */

export interface ApiObject {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
}

export type Collection = 'nodes' | 'servicecidrs' | 'services' | 'slices';

export interface Api {
  readonly port: number;
  /** Adds the object, or changes the one with its name. */
  put(collection: Collection, object: ApiObject): void;
  remove(collection: Collection, object: ApiObject): void;
}

const paths: Readonly<Record<string, readonly [Collection, kind: string]>> = {
  '/api/v1/nodes': ['nodes', 'Node'],
  '/api/v1/services': ['services', 'Service'],
  '/apis/discovery.k8s.io/v1/endpointslices': ['slices', 'EndpointSlice'],
  '/apis/networking.k8s.io/v1/servicecidrs': ['servicecidrs', 'ServiceCIDR'],
};
const protobufType = 'application/vnd.kubernetes.protobuf';
const keyOf = ({ metadata: { name, namespace = '' } }: ApiObject): string => `${namespace}/${name}`;

type Selection = (object: ApiObject) => boolean;

/** Understands the selectors that proxies use: labels that are absent, and one name. */
function selectionOf(query: URLSearchParams): Selection {
  const absent = (query.get('labelSelector') ?? '').split(',').filter((term) => term !== '');
  const name = /^metadata\.name=(.*)$/u.exec(query.get('fieldSelector') ?? '')?.[1];
  for (const term of absent) if (!term.startsWith('!')) throw new Error(`unknown selector ${term}`);
  return ({ metadata }) =>
    absent.every((term) => metadata.labels?.[term.slice(1)] === undefined) &&
    (name === undefined || name === metadata.name);
}

interface Stored {
  readonly version: number;
  readonly object: ApiObject;
}
interface Event {
  readonly version: number;
  readonly collection: Collection;
  readonly before?: ApiObject;
  readonly after?: ApiObject;
}

/** Returns the event as the watch of a selection sees it. */
function seen({ before, after }: Event, selects: Selection): readonly [string, ApiObject] | undefined {
  const had = before !== undefined && selects(before);
  if (after !== undefined && selects(after)) return [had ? 'MODIFIED' : 'ADDED', after];
  return had ? ['DELETED', after ?? before] : undefined;
}

export async function startApi(): Promise<Api> {
  const stored = new Map<Collection, Map<string, Stored>>();
  const events: Event[] = [];
  const watches = new Set<(event: Event) => void>();
  let version = 1;
  const all = (collection: Collection): Map<string, Stored> => {
    const found = stored.get(collection) ?? new Map<string, Stored>();
    stored.set(collection, found);
    return found;
  };
  const commit = (collection: Collection, before?: ApiObject, after?: ApiObject): void => {
    const event = { version, collection, ...(before && { before }), ...(after && { after }) };
    events.push(event);
    for (const watch of watches) watch(event);
  };
  const watch = (
    collection: Collection,
    selects: Selection,
    since: number,
    response: ServerResponse,
  ): void => {
    const send = (event: Event): void => {
      const told = event.collection === collection ? seen(event, selects) : undefined;
      if (told === undefined) return;
      const [type, object] = told;
      const metadata = { ...object.metadata, resourceVersion: String(event.version) };
      response.write(`${JSON.stringify({ type, object: { ...object, metadata } })}\n`);
    };
    response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();
    for (const event of events) if (event.version > since) send(event);
    watches.add(send);
    response.once('close', () => watches.delete(send));
  };
  const server = createHttpServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://server');
    const answer = (body: object): void =>
      void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (pathname === '/apis/networking.k8s.io/v1')
      return answer({ kind: 'APIResourceList', resources: [{ name: 'servicecidrs', kind: 'ServiceCIDR' }] });
    const [, parent = '', name] = /^(\/api\/v1\/nodes)(?:\/(.+))?$/u.exec(pathname) ?? [];
    const [collection, kind = ''] = paths[parent === '' ? pathname : parent] ?? [];
    const node = name === undefined ? undefined : all('nodes').get(`/${name}`);
    if (node !== undefined) return answer(node.object);
    if (collection === undefined || name !== undefined || request.method !== 'GET')
      return void response
        .writeHead(404, { 'content-type': 'application/json' })
        .end('{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}');
    const selects = selectionOf(searchParams);
    if (searchParams.get('watch') !== null)
      return watch(collection, selects, Number(searchParams.get('resourceVersion')), response);
    const items = [...all(collection).values()].flatMap(({ object, version: own }) =>
      selects(object) ? [{ ...object, metadata: { ...object.metadata, resourceVersion: String(own) } }] : [],
    );
    const isProtobuf = request.headers.accept?.startsWith(protobufType) === true;
    if (isProtobuf && (kind === 'Service' || kind === 'EndpointSlice'))
      return void response
        .writeHead(200, { 'content-type': protobufType })
        .end(protobufList(kind, String(version), items));
    const apiVersion = pathname.replace(/^\/apis?\/|\/[^/]+$/gu, '');
    answer({ kind: `${kind}List`, apiVersion, metadata: { resourceVersion: String(version) }, items });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    put(collection, object) {
      version += 1;
      const before = all(collection).get(keyOf(object))?.object;
      all(collection).set(keyOf(object), { version, object });
      commit(collection, before, object);
    },
    remove(collection, object) {
      const before = all(collection).get(keyOf(object))?.object;
      if (before === undefined) return;
      version += 1;
      all(collection).delete(keyOf(object));
      commit(collection, before);
    },
  };
}
