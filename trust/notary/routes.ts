import type { Dialect } from '../tuf/metadata/model.ts';
import type { Which } from './collections.ts';
import type { OnlineKey } from './online-keys.ts';

/** What a request asks for. `operation` is the name that metrics have for it. */
export type Route =
  | { readonly operation: 'Ping' | 'Health' | 'Metrics' | 'NotFound' | 'NotAllowed' }
  | { readonly operation: 'Changefeed'; readonly gun: string | undefined }
  | { readonly operation: 'UpdateTUF' | 'DeleteTUF'; readonly dialect: Dialect; readonly gun: string }
  | {
      readonly operation: 'GetRole' | 'GetRoleByHash' | 'GetRoleByVersion';
      readonly dialect: Dialect;
      readonly gun: string;
      readonly role: string;
      readonly which: Which;
    }
  | { readonly operation: 'GetKey' | 'RotateKey'; readonly dialect: Dialect; readonly gun: string; readonly role: OnlineKey['role'] };

/** As server/server.go of Notary 0.7.0 has them: a collection's name may hold slashes, the last match of a suffix counts. */
const role = '(root|targets(?:/[^/\\s]+)*|snapshot|timestamp)';
const notary = '^/v2/([^*]+)/_trust/tuf/';
const patterns = {
  collection: new RegExp(`${notary}$`, 'u'),
  byHash: new RegExp(`${notary}${role}\\.([a-fA-F0-9]{64}|[a-fA-F0-9]{96}|[a-fA-F0-9]{128})\\.json$`, 'u'),
  byVersion: new RegExp(`${notary}([0-9]{1,15})\\.${role}\\.json$`, 'u'),
  current: new RegExp(`${notary}${role}\\.json$`, 'u'),
  key: new RegExp(`${notary}(snapshot|timestamp)\\.key$`, 'u'),
  changefeed: /^\/v2\/([^*]+)\/_trust\/changefeed$/u,
  tuf: /^\/tuf\/([^*]+)\/([^/]*)$/u,
};

/** Names of collections and roles have 255 characters at most, each of them three when it is encoded. What is longer is looked at by no pattern. */
const mostPathLength = 4096;

const methods: readonly string[] = ['GET', 'POST', 'PUT', 'HEAD', 'DELETE'];

/** @param path without its query, as it was sent: still percent-encoded */
export function routeOf(method: string, path: string): Route {
  const plain = method === 'GET' ? plainRoutes[path] : undefined;
  if (plain !== undefined) return plain;
  const decoded = path.length > mostPathLength ? undefined : path.includes('%') ? decodedText(path) : path;
  const found = decoded === undefined ? undefined : path.startsWith('/tuf/') ? tufRoute(method, path) : notaryRoute(method, decoded);
  return found ?? (methods.includes(method) ? { operation: 'NotFound' } : { operation: 'NotAllowed' });
}

const plainRoutes: Readonly<Record<string, Route>> = {
  '/v2/': { operation: 'Ping' },
  '/_notary_server/health': { operation: 'Health' },
  '/metrics': { operation: 'Metrics' },
  '/v2/_trust/changefeed': { operation: 'Changefeed', gun: undefined },
};

function notaryRoute(method: string, path: string): Route | undefined {
  if (method === 'GET') return notaryRead(path);
  if (method !== 'POST' && method !== 'DELETE') return undefined;
  const [, gun] = patterns.collection.exec(path) ?? [];
  if (gun !== undefined) return { operation: method === 'POST' ? 'UpdateTUF' : 'DeleteTUF', dialect: 'notary', gun };
  const [, of, name] = method === 'POST' ? (patterns.key.exec(path) ?? []) : [];
  return of === undefined ? undefined : { operation: 'RotateKey', dialect: 'notary', gun: of, role: name as OnlineKey['role'] };
}

function notaryRead(path: string): Route | undefined {
  const dialect = 'notary';
  const byHash = patterns.byHash.exec(path);
  if (byHash !== null) {
    const [, gun = '', name = '', hash = ''] = byHash;
    return { operation: 'GetRoleByHash', dialect, gun, role: name, which: { hash: hash.toLowerCase() } };
  }
  const byVersion = patterns.byVersion.exec(path);
  if (byVersion !== null) {
    const [, gun = '', version = '', name = ''] = byVersion;
    return { operation: 'GetRoleByVersion', dialect, gun, role: name, which: { version: Number(version) } };
  }
  const current = patterns.current.exec(path);
  if (current !== null) {
    const [, gun = '', name = ''] = current;
    return { operation: 'GetRole', dialect, gun, role: name, which: 'current' };
  }
  const key = patterns.key.exec(path);
  if (key !== null) return { operation: 'GetKey', dialect, gun: key[1] ?? '', role: key[2] as OnlineKey['role'] };
  const feed = patterns.changefeed.exec(path);
  return feed === null ? undefined : { operation: 'Changefeed', gun: feed[1] };
}

function tufRoute(method: string, path: string): Route | undefined {
  const dialect = 'tuf';
  const [, encodedGun, encodedFile] = patterns.tuf.exec(path) ?? [];
  const [gun, file] = [decodedText(encodedGun ?? ''), decodedText(encodedFile ?? '')];
  if (gun === undefined || gun === '' || file === undefined) return undefined;
  if (file === '')
    return method === 'POST'
      ? { operation: 'UpdateTUF', dialect, gun }
      : method === 'DELETE'
        ? { operation: 'DeleteTUF', dialect, gun }
        : undefined;
  if (file === 'snapshot.key' || file === 'timestamp.key') {
    const name = file === 'snapshot.key' ? 'snapshot' : 'timestamp';
    return method === 'GET' || method === 'POST'
      ? { operation: method === 'GET' ? 'GetKey' : 'RotateKey', dialect, gun, role: name }
      : undefined;
  }
  if (method !== 'GET' || !file.endsWith('.json')) return undefined;
  const name = file.slice(0, -'.json'.length);
  const [, version, rest] = /^([0-9]{1,15})\.(.+)$/su.exec(name) ?? [];
  return version === undefined || rest === undefined
    ? { operation: 'GetRole', dialect, gun, role: name, which: 'current' }
    : { operation: 'GetRoleByVersion', dialect, gun, role: rest, which: { version: Number(version) } };
}

function decodedText(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
