import { attempt } from '../../base/errors/index.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import type { Which } from './collections.ts';
import type { OnlineKey } from './online-keys.ts';

/** The target of a request. `operation` is its name in metrics. */
export type Route =
  | { readonly operation: 'Ping' | 'Health' | 'Metrics' | 'NotFound' | 'NotAllowed' }
  /**
   * The request names a collection or a role by an invalid name. No part of that name reaches a header, a log
   * or the store.
   */
  | { readonly operation: 'BadName'; readonly refused: 'INVALID_GUN' | 'INVALID_ROLE'; readonly why: string }
  | { readonly operation: 'Changefeed'; readonly gun: string | undefined }
  | { readonly operation: 'UpdateTUF' | 'DeleteTUF'; readonly dialect: Dialect; readonly gun: string }
  | {
      readonly operation: 'GetRole' | 'GetRoleByHash' | 'GetRoleByVersion';
      readonly dialect: Dialect;
      readonly gun: string;
      readonly role: string;
      readonly which: Which;
    }
  | {
      readonly operation: 'GetKey' | 'RotateKey';
      readonly dialect: Dialect;
      readonly gun: string;
      readonly role: OnlineKey['role'];
    };

/**
 * As in server/server.go of Notary 0.7.0: the name of a collection may contain slashes, and the last match of
 * a suffix counts.
 */
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

/**
 * Names of collections and roles have at most 255 characters, each of which takes three when it is encoded.
 * No pattern examines a longer path.
 */
const mostPathLength = 4096;

/**
 * Maximum length of a collection's name and of a role's name (Notary 0.7.0 stores both in columns of 255
 * characters).
 */
const mostNameLength = 255;
/** Space to tilde: valid in a quoted string of a header (RFC 9110, section 5.6.4) and in a log line. */
const printableAscii = /^[\x20-\x7e]*$/u;
/** Delegated TUF roles may have names in any script. These names are never part of a header. */
const controlCharacter = /[\x00-\x1f\x7f-\x9f]/u;

const methods: readonly string[] = ['GET', 'POST', 'PUT', 'HEAD', 'DELETE'];

/**
 * Parses a request. A collection's name must be printable ASCII, and a role's name must not have a control
 * character. Both have at most 255 characters and must be valid UTF-8. Any other name gives `BadName`.
 * @param path without its query, as it was sent: still percent-encoded
 */
export function routeOf(method: string, path: string): Route {
  const plain = method === 'GET' ? plainRoutes.get(path) : undefined;
  if (plain !== undefined) return plain;
  if (!methods.includes(method)) return { operation: 'NotAllowed' };
  if (path.length > mostPathLength) return { operation: 'NotFound' };
  const decoded = path.includes('%') ? decodedText(path) : path;
  if (decoded === undefined) return badName('INVALID_GUN', 'the path is not percent-encoded UTF-8');
  const found = path.startsWith('/tuf/') ? tufRoute(method, path) : notaryRoute(method, decoded);
  if (found === undefined) return { operation: 'NotFound' };
  return refusedName(found) ?? found;
}

const plainRoutes: ReadonlyMap<string, Route> = new Map<string, Route>([
  ['/v2/', { operation: 'Ping' }],
  ['/_notary_server/health', { operation: 'Health' }],
  ['/metrics', { operation: 'Metrics' }],
  ['/v2/_trust/changefeed', { operation: 'Changefeed', gun: undefined }],
]);

const badName = (refused: 'INVALID_GUN' | 'INVALID_ROLE', why: string): Route => ({
  operation: 'BadName',
  refused,
  why,
});

function refusedName(route: Route): Route | undefined {
  const gun = 'gun' in route ? (route.gun ?? '') : '';
  const role = 'role' in route ? route.role : '';
  if (gun.length > mostNameLength)
    return badName('INVALID_GUN', `the name of the collection is longer than ${mostNameLength} characters`);
  if (!printableAscii.test(gun))
    return badName(
      'INVALID_GUN',
      'the name of the collection contains a character that is not printable ASCII',
    );
  if (role.length > mostNameLength)
    return badName('INVALID_ROLE', `the name of the role is longer than ${mostNameLength} characters`);
  if (controlCharacter.test(role))
    return badName('INVALID_ROLE', 'the name of the role contains a control character');
  return undefined;
}

function notaryRoute(method: string, path: string): Route | undefined {
  if (method === 'GET') return notaryRead(path);
  if (method !== 'POST' && method !== 'DELETE') return undefined;
  const [, gun] = patterns.collection.exec(path) ?? [];
  if (gun !== undefined)
    return { operation: method === 'POST' ? 'UpdateTUF' : 'DeleteTUF', dialect: 'notary', gun };
  const [, of, name] = method === 'POST' ? (patterns.key.exec(path) ?? []) : [];
  return of === undefined
    ? undefined
    : { operation: 'RotateKey', dialect: 'notary', gun: of, role: name as OnlineKey['role'] };
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
  if (key !== null)
    return { operation: 'GetKey', dialect, gun: key[1] ?? '', role: key[2] as OnlineKey['role'] };
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
  return attempt(() => decodeURIComponent(text));
}
