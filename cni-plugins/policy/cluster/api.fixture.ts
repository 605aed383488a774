import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createHttpServer } from '../../../base/connections/index.ts';
import { fieldsOf, nameOf } from '../../../base/kubernetes/index.ts';

/**
 * An API server with the objects that a test puts there: lists, streams of changes, versions. The field
 * selector of pods holds as in the real one. test/policy-watch uses the real one.
 */
export interface ScriptedApi {
  /** Creates or replaces an object. */
  put(path: Path, object: object): void;
  remove(path: Path, object: object): void;
  /** Creates the resource of ClusterNetworkPolicies, or removes it. */
  install(isThere: boolean): void;
  /** Refuses to list or watch ClusterNetworkPolicies (403). */
  forbid(isForbidden: boolean): void;
  /** Stops answering, and ends all streams. */
  stop(): Promise<void>;
  /** Answers again, at the same port. */
  start(): Promise<void>;
  /** A stream from an older version is answered with 410. */
  forget(): void;
  /** Writes a kubeconfig. */
  kubeconfig(file: string): string;
}

export type Path = keyof typeof paths;
const paths = {
  pods: '/api/v1/pods',
  namespaces: '/api/v1/namespaces',
  networkpolicies: '/apis/networking.k8s.io/v1/networkpolicies',
  nodes: '/api/v1/nodes',
  clusternetworkpolicies: '/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies',
} as const;
/** The version of a CRD, which exists only after `install`. */
const optional = '/apis/policy.networking.k8s.io/v1alpha2';

interface Event {
  readonly version: number;
  readonly type: string;
  readonly object: object;
}

const hasEnded = (object: unknown): boolean =>
  ['Succeeded', 'Failed'].includes(String(fieldsOf(fieldsOf(object)['status'])['phase']));

export async function startScriptedApi(): Promise<ScriptedApi> {
  const objects = new Map<string, Map<string, object>>();
  const events = new Map<string, Event[]>();
  const streams = new Set<{ readonly path: string; readonly response: ServerResponse }>();
  let version = 1;
  let isInstalled = false;
  let isForbidden = false;
  let oldest = 0;
  let port = 0;
  let server: Server;

  const at = <T>(map: Map<string, T>, path: string, none: T): T => {
    const found = map.get(path) ?? none;
    map.set(path, found);
    return found;
  };
  const event = (path: string, type: string, object: object): void => {
    const one = { version, type, object };
    at(events, path, [] as Event[]).push(one);
    for (const stream of streams) if (stream.path === path) write(stream.response, one);
  };
  const write = (response: ServerResponse, { type, object }: Event): void =>
    void response.write(`${JSON.stringify({ type, object })}\n`);

  async function start(): Promise<void> {
    server = createHttpServer((request, response) => {
      const { pathname: path, searchParams: query } = new URL(request.url ?? '', 'http://server');
      if (path === optional && isInstalled)
        return void response.end(
          JSON.stringify({ kind: 'APIResourceList', resources: [{ name: 'clusternetworkpolicies' }] }),
        );
      if (path.startsWith(optional) && !isInstalled)
        return void response
          .writeHead(404)
          .end(JSON.stringify({ kind: 'Status', code: 404, message: 'not found' }));
      if (path === paths.clusternetworkpolicies && isForbidden)
        return void response
          .writeHead(403)
          .end(JSON.stringify({ kind: 'Status', code: 403, message: 'clusternetworkpolicies is forbidden' }));
      if (query.get('watch') !== 'true') {
        const items = [...at(objects, path, new Map<string, object>()).values()];
        return void response.end(
          JSON.stringify({ kind: 'List', metadata: { resourceVersion: String(version) }, items }),
        );
      }
      const from = Number(query.get('resourceVersion'));
      if (from < oldest)
        return void response
          .writeHead(410)
          .end(JSON.stringify({ kind: 'Status', code: 410, message: 'too old resource version' }));
      response.writeHead(200).flushHeaders();
      for (const one of events.get(path) ?? []) if (one.version > from) write(response, one);
      const stream = { path, response };
      streams.add(stream);
      response.once('close', () => streams.delete(stream));
    });
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    ({ port } = server.address() as AddressInfo);
  }
  await start();

  return {
    install(isThere) {
      isInstalled = isThere;
      for (const stream of streams) if (stream.path.startsWith(optional)) stream.response.end();
    },
    forbid: (isRefused) => void (isForbidden = isRefused),
    put(name, object) {
      const path = paths[name];
      version += 1;
      const key = nameOf(object) ?? '';
      const all = at(objects, path, new Map<string, object>());
      const stored = {
        ...object,
        metadata: { ...fieldsOf(fieldsOf(object)['metadata']), resourceVersion: String(version) },
      };
      const stood = all.has(key);
      if (name === 'pods' && hasEnded(object)) {
        all.delete(key);
        if (stood) event(path, 'DELETED', stored);
        return;
      }
      all.set(key, stored);
      event(path, stood ? 'MODIFIED' : 'ADDED', stored);
    },
    remove(name, object) {
      version += 1;
      const path = paths[name];
      at(objects, path, new Map<string, object>()).delete(nameOf(object) ?? '');
      event(path, 'DELETED', {
        ...object,
        metadata: { ...fieldsOf(fieldsOf(object)['metadata']), resourceVersion: String(version) },
      });
    },
    async stop() {
      const ended = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await ended;
    },
    start,
    forget() {
      version += 1;
      oldest = version;
      events.clear();
    },
    kubeconfig(file) {
      writeFileSync(
        file,
        JSON.stringify({
          'current-context': 'c',
          contexts: [{ name: 'c', context: { cluster: 'c' } }],
          clusters: [{ name: 'c', cluster: { server: `http://127.0.0.1:${port}` } }],
        }),
      );
      return file;
    },
  };
}
