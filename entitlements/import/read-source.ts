import { append } from '../../base/lists/index.ts';
import { parseDocuments, formatProblems } from '../../base/schema/index.ts';
import type { Document } from '../../base/schema/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { entitlementsError } from '../errors.ts';
import { builtinProfile } from '../profile/builtin.ts';
import type { Profile } from '../profile/model.ts';
import { parseSeccompJson } from '../seccomp/oci-shape.ts';
import { importAppArmorAbstract } from './apparmor-abstract.ts';
import { importAppArmorText } from './apparmor-text.ts';
import { isAppArmorText } from './apparmor-statements.ts';
import { importArtifact, isLayout } from './artifact.ts';
import type { SeccompTarget } from './conditional-seccomp.ts';
import { importCustomResource, isCustomResource } from './custom-resource.ts';
import { profileName } from './imported.ts';
import type { Imported } from './imported.ts';
import { isSeccomp, readText } from './operand.ts';
import { importSeccomp } from './seccomp.ts';
import { holdsPod, importPod } from './security-context.ts';

export const importSources = [
  'auto',
  'seccomp',
  'security-context',
  'pod-security',
  'spo',
  'oci-artifact',
  'apparmor',
  'apparmor-json',
] as const;
export type ImportSource = (typeof importSources)[number];

export interface ImportOptions {
  readonly target: SeccompTarget;
  /** Profiles that a pod's annotation may name. */
  readonly profile: (name: string) => Profile | undefined;
  /** The folder that `localhostProfile` is relative to: a kubelet's seccomp folder. */
  readonly seccompRoot?: string;
}

/** A profile from a source, with a name. */
export type NamedImport = Imported & { readonly name: string };

const PSS = ['privileged', 'baseline', 'restricted'];

/**
 * Imports the profiles of another tool's source: a file or folder, or with `pod-security` the name of a
 * level.
 * @throws ENTITLEMENTS_BAD_SECCOMP, ENTITLEMENTS_BAD_PROFILE, ENTITLEMENTS_UNREADABLE,
 * ENTITLEMENTS_UNKNOWN_PROFILE
 */
export async function importFrom(
  source: ImportSource,
  from: string,
  options: ImportOptions,
): Promise<NamedImport[]> {
  if (source === 'pod-security' || (source === 'auto' && PSS.includes(from))) return [podSecurity(from)];
  const fallback = profileName(from.replace(/^.*\//, '').replace(/\.(json|ya?ml)$/, '')) ?? 'imported';
  const named = (imported: Imported): NamedImport => ({ ...imported, name: imported.name ?? fallback });
  try {
    if (source === 'oci-artifact' || (source === 'auto' && (await isLayout(from))))
      return [named(await importArtifact(from, options.target))];
    const text = await readText(from);
    if (source === 'seccomp' || (source === 'auto' && isSeccomp(text)))
      return [named(importSeccomp(parseSeccompJson(text), options.target))];
    if (source === 'apparmor-json') return [named(importAppArmorAbstract(parseSeccompJson(text), ''))];
    if (source === 'apparmor' || (source === 'auto' && isAppArmorText(text)))
      return [named(importAppArmorText(text, from))];
    const found = await fromDocuments(source, text, from, options);
    return found.map(named);
  } catch (error) {
    // The positions in these errors are relative to the text, so this adds the name of the text.
    if (!isPortcullisError(error) || error.failure.on.startsWith(from)) throw error;
    throw entitlementsError(error.code as 'ENTITLEMENTS_BAD_PROFILE', {
      ...error.failure,
      on: `${from}${error.failure.on === '' ? '' : `: ${error.failure.on}`}`,
    });
  }
}

async function fromDocuments(
  source: ImportSource,
  text: string,
  from: string,
  options: ImportOptions,
): Promise<Imported[]> {
  const { documents, problems } = parseDocuments(text, from);
  if (problems.length > 0) throw bad(from, formatProblems(problems), 'correct the lines named');
  const found: Imported[] = [];
  for (const document of documents) {
    for (const { item, path } of itemsOf(document.value)) {
      try {
        if (source !== 'security-context' && isCustomResource(item))
          found.push(importCustomResource(item, options.target));
        else if (source !== 'spo' && holdsPod(item))
          append(
            found,
            importPod(item, { profile: options.profile, seccomp: await localhost(item, options) }),
          );
      } catch (error) {
        if (!isPortcullisError(error)) throw error;
        throw entitlementsError(error.code as 'ENTITLEMENTS_BAD_PROFILE', {
          ...error.failure,
          on: `${placeIn(document, path, error.failure.on)}: ${error.failure.on}`,
        });
      }
    }
  }
  if (found.length === 0)
    throw bad(from, 'its format is unknown', 'name its format with --from; see --help for the formats');
  return found;
}

interface Item {
  readonly item: unknown;
  readonly path: readonly (string | number)[];
}

function itemsOf(value: unknown): readonly Item[] {
  if (typeof value !== 'object' || value === null) return [];
  const { kind, items } = value as { readonly kind?: unknown; readonly items?: unknown };
  return typeof kind === 'string' && kind.endsWith('List') && Array.isArray(items)
    ? (items as readonly unknown[]).map((item, at) => ({ item, path: ['items', at] }))
    : [{ item: value, path: [] }];
}

/**
 * Returns file:line:column of a position written as `spec.containers[0].name`, or of the nearest existing
 * part.
 */
function placeIn(document: Document, prefix: Item['path'], place: string): string {
  const steps = [...place.matchAll(/([^.[\]]+)|\[(\d+)\]/g)].map(([, key, at]) => key ?? Number(at));
  const full = [...prefix, ...steps];
  // Positions in the spec of a custom resource are relative to the spec.
  const inSpec = [...prefix, 'spec', ...steps];
  const [a, b] = [full, inSpec].map((path) => document.positionOf(path, 'key'));
  const top = document.positionOf(prefix, 'key');
  const found = a !== undefined && (a.line !== top.line || a.column !== top.column) ? a : (b ?? top);
  return `${document.file}:${found.line}:${found.column}`;
}

/** Reads the files of the node that a manifest names, only below the folder. */
async function localhost(
  manifest: unknown,
  { seccompRoot }: ImportOptions,
): Promise<(path: string) => unknown> {
  const read = new Map<string, unknown>();
  if (seccompRoot === undefined) return () => undefined;
  for (const [, name = ''] of JSON.stringify(manifest).matchAll(/"localhostProfile":"([^"\\]{1,255})"/g)) {
    if (name.startsWith('/') || name.split('/').includes('..')) continue;
    const file = join(seccompRoot, name);
    const there = await stat(file).then(
      () => true,
      () => false,
    );
    if (there) read.set(name, parseSeccompJson(await readText(file)));
  }
  return (path) => read.get(path);
}

function podSecurity(level: string): NamedImport {
  const profile = PSS.includes(level) ? builtinProfile(level) : undefined;
  if (profile === undefined)
    throw bad(
      level,
      'the Pod Security Standards have no such level',
      'use privileged, baseline or restricted',
    );
  return {
    name: `pod-security-${level}`,
    profile,
    unmapped: [],
    notes:
      level === 'privileged'
        ? []
        : [
            {
              part: level,
              why: 'its rules on volume types, host ports and probes are the task of admission control',
            },
          ],
  };
}

function bad(on: string, why: string, fix: string): Error {
  return entitlementsError('ENTITLEMENTS_BAD_PROFILE', {
    kind: 'invalid',
    attempted: 'import profile',
    on,
    why,
    fix,
  });
}
