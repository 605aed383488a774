import { recordOf } from '../../json/strict-json.ts';
import { rootScope, scopeChain } from './scopes.ts';
import type { Source } from './source.ts';

/** The settings of registries.d for one namespace: containers-registries.d(5). */
interface RegistryNamespace {
  readonly lookaside?: string;
  readonly attachments?: boolean;
}

/** All files of registries.d, merged. */
export interface RegistriesD {
  readonly docker: ReadonlyMap<string, RegistryNamespace>;
  readonly fallback: RegistryNamespace;
}

/**
 * Merges the files in order of their names. Reports a namespace that two files name, because the image
 * library refuses it.
 */
export function readRegistriesD(sources: readonly Source[]): RegistriesD {
  const docker = new Map<string, RegistryNamespace>();
  let fallback: RegistryNamespace | undefined;
  for (const source of sources) {
    if (source.problems.length > 0) continue;
    // Unlike policy.json, this file may have unknown fields.
    const root = recordOf(source.value);
    if (root === undefined) {
      source.report([], 'this is not a mapping', 'write default-docker: and docker:');
      continue;
    }
    const own = root['default-docker'];
    if (own !== undefined && own !== null) {
      if (fallback !== undefined)
        source.report(['default-docker'], 'another file has a default-docker', 'keep one of them');
      fallback = readNamespace(own, ['default-docker'], source);
    }
    for (const [name, value] of Object.entries(recordOf(root['docker']) ?? {})) {
      if (docker.has(name)) source.report(['docker', name], `another file names ${name}`, 'keep one of them');
      docker.set(name, readNamespace(value, ['docker', name], source));
    }
  }
  return { docker, fallback: fallback ?? {} };
}

function readNamespace(value: unknown, path: readonly string[], source: Source): RegistryNamespace {
  const record = recordOf(value ?? {});
  if (record === undefined) source.report(path, 'this is not a mapping', 'write lookaside: URL');
  const text = (field: string): string | undefined => {
    const written = record?.[field];
    if (written !== undefined && written !== null && typeof written !== 'string')
      source.report([...path, field], `\`${field}\` is not a string`, 'write a URL');
    return typeof written === 'string' && written !== '' ? written : undefined;
  };
  const lookaside = text('lookaside') ?? text('sigstore');
  const attachments = record?.['use-sigstore-attachments'];
  if (attachments !== undefined && attachments !== null && typeof attachments !== 'boolean')
    source.report(
      [...path, 'use-sigstore-attachments'],
      'this is neither true nor false',
      'write true or false',
    );
  return {
    ...(lookaside === undefined ? {} : { lookaside }),
    ...(typeof attachments === 'boolean' ? { attachments } : {}),
  };
}

/**
 * Returns where the GPG signatures of a scope's images are: the setting of the most specific namespace that
 * has one. Undefined: there is no setting.
 */
export function lookasideOf(config: RegistriesD, scope: string): string | undefined {
  return nearest(config, scope, ({ lookaside }) => lookaside);
}

/** Whether cosign signatures in the registry are read for the images of a scope. */
export function readsAttachments(config: RegistriesD, scope: string): boolean {
  return nearest(config, scope, ({ attachments }) => attachments) ?? false;
}

function nearest<T>(
  { docker, fallback }: RegistriesD,
  scope: string,
  read: (namespace: RegistryNamespace) => T | undefined,
): T | undefined {
  for (const name of scopeChain(scope)) {
    const namespace = name === rootScope ? undefined : docker.get(name);
    const found = namespace === undefined ? undefined : read(namespace);
    if (found !== undefined) return found;
  }
  return read(fallback);
}
