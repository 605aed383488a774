import type { Dialect, FileMeta } from '../tuf-metadata/model.ts';

/**
 * Returns the name under which a repository serves the file of a role. TUF: `5.targets.json` under consistent
 * snapshots, else `targets.json`, with the role's name percent-encoded; Notary: `targets.<sha256>.json`.
 */
export function metadataName(dialect: Dialect, role: string, meta: FileMeta, consistent: boolean): string {
  if (dialect === 'notary') {
    const hash = meta.hashes['sha256'] ?? meta.hashes['sha512'];
    return hash === undefined ? `${role}.json` : `${role}.${hash}.json`;
  }
  const quoted = encodeURIComponent(role);
  return consistent && meta.version !== undefined ? `${meta.version}.${quoted}.json` : `${quoted}.json`;
}

/**
 * Returns the name of a target's file below the address of the targets. Under consistent snapshots, the hash
 * precedes the file's own name.
 */
export function targetName(path: string, hash: string, consistent: boolean): string {
  const parts = path.split('/').map(encodeURIComponent);
  const last = parts.pop() ?? '';
  return [...parts, consistent ? `${hash}.${last}` : last].join('/');
}
