import type { Dialect, FileMeta } from '../metadata/model.ts';

/**
 * The names under which a repository serves a role's file. TUF: `5.targets.json` under consistent snapshots, else `targets.json`,
 * the role's name percent-encoded; Notary: `targets.<sha256>.json`.
 */
export function metadataName(dialect: Dialect, role: string, meta: FileMeta, consistent: boolean): string {
  if (dialect === 'notary') {
    const hash = meta.hashes['sha256'] ?? meta.hashes['sha512'];
    return hash === undefined ? `${role}.json` : `${role}.${hash}.json`;
  }
  const quoted = encodeURIComponent(role);
  return consistent && meta.version !== undefined ? `${meta.version}.${quoted}.json` : `${quoted}.json`;
}

/** The name of a target's file below the targets' address: its hash before its own name under consistent snapshots. */
export function targetName(path: string, hash: string, consistent: boolean): string {
  const parts = path.split('/').map(encodeURIComponent);
  const last = parts.pop() ?? '';
  return [...parts, consistent ? `${hash}.${last}` : last].join('/');
}
