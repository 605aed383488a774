import { stat } from 'node:fs/promises';
import { fileReason } from '../../base/errors/index.ts';
import { readGivenFile } from '../../base/files/index.ts';
import { closest } from '../../base/lists/index.ts';
import { formatProblems, parseDocuments } from '../../base/schema/index.ts';
import type { Document } from '../../base/schema/index.ts';
import { entitlementsError } from '../errors.ts';
import { builtinNames, builtinProfile } from '../profile/builtin.ts';
import { EXACT_KIND } from '../document/exact-schema.ts';
import type { SourceFile } from '../document/check.ts';
import { profilesOf, readProfileFiles } from '../document/load.ts';
import type { Profile } from '../profile/model.ts';
import { PROFILE_KIND } from '../document/schema.ts';
import { parseSeccompJson } from '../seccomp/oci-shape.ts';
import type { SeccompTarget } from './conditional-seccomp.ts';
import type { Remark } from './imported.ts';
import { importSeccomp } from './seccomp.ts';

/** A profile that a user named: its label, and its origin. */
export interface Operand {
  /** The name in answers: the profile's name, or the file's. */
  readonly label: string;
  readonly profile: Profile;
  /** The file from which it was read; undefined for a built-in one. */
  readonly file?: string;
  readonly source: OperandSource;
  readonly unmapped: readonly Remark[];
  readonly notes: readonly Remark[];
}

/** The source of a profile, to find the part of it that decides something. */
export type OperandSource =
  | { readonly kind: 'builtin' }
  | { readonly kind: 'documents'; readonly files: readonly SourceFile[]; readonly name: string }
  | {
      readonly kind: 'seccomp';
      readonly file: string;
      readonly text: string;
      readonly target: SeccompTarget;
    };

export interface OperandOptions {
  readonly target: SeccompTarget;
  /** Files and folders with more profiles, which may be named and may be parents. */
  readonly policy: readonly string[];
}

const MAX_BYTES = 1024 * 1024;

/**
 * Returns the profile that a user named: a built-in one, one of `policy`, a file with one profile, one of
 * several in a file as `FILE#name`, or a seccomp JSON of docker, containerd or CRI-O. A name that is also a
 * file means the profile; `./name` means the file.
 * @throws ENTITLEMENTS_UNKNOWN_PROFILE, ENTITLEMENTS_BAD_PROFILE, ENTITLEMENTS_BAD_SECCOMP,
 * ENTITLEMENTS_UNREADABLE
 */
export async function readOperand(text: string, options: OperandOptions): Promise<Operand> {
  const builtin = builtinProfile(text);
  if (builtin !== undefined)
    return { label: text, profile: builtin, source: { kind: 'builtin' }, unmapped: [], notes: [] };
  if (options.policy.length > 0) {
    const files = await readProfileFiles(options.policy);
    const found = profilesOf(options.policy, files).resolve(text);
    if (found !== undefined)
      return {
        label: text,
        profile: found,
        source: { kind: 'documents', files, name: text },
        unmapped: [],
        notes: [],
      };
  }
  const hash = text.lastIndexOf('#');
  const whole = hash < 0 || (await exists(text));
  const file = whole ? text : text.slice(0, hash);
  const name = whole ? undefined : text.slice(hash + 1);
  if (!(await exists(file))) throw unknown(text);
  const content = await readText(file);
  if (isSeccomp(content)) {
    if (name !== undefined) throw unknown(text, `${file} is a seccomp profile, which has no names in it`);
    const imported = importSeccomp(parseSeccompJson(content), options.target);
    return {
      ...imported,
      label: file,
      file,
      source: { kind: 'seccomp', file, text: content, target: options.target },
    };
  }
  return fromDocuments(file, name, content, options);
}

async function fromDocuments(
  file: string,
  name: string | undefined,
  content: string,
  options: OperandOptions,
): Promise<Operand> {
  const { documents, problems } = parseDocuments(content, file);
  if (problems.length > 0) throw invalid(file, formatProblems(problems));
  const own = documents.flatMap((document) => nameOf(document) ?? []);
  const paths = [...new Set([file, ...options.policy])];
  const files = await readProfileFiles(paths);
  const profiles = profilesOf(paths, files);
  const wanted = name ?? (own.length === 1 ? own[0] : undefined);
  if (wanted === undefined) {
    throw own.length === 0
      ? unknown(file, 'there is no profile in the file')
      : unknown(
          file,
          `there are ${own.length} profiles in the file: name one as ${own.map((one) => `${file}#${one}`).join(', ')}`,
        );
  }
  const profile = own.includes(wanted) ? profiles.resolve(wanted) : undefined;
  if (profile === undefined)
    throw unknown(`${file}#${wanted}`, `the file defines: ${own.join(', ') || 'none'}`);
  return {
    label: wanted,
    profile,
    file,
    source: { kind: 'documents', files, name: wanted },
    unmapped: [],
    notes: [],
  };
}

function kindOf(value: unknown): unknown {
  return typeof value === 'object' && value !== null && 'kind' in value ? value.kind : undefined;
}

/** Returns the name of a profile's document. */
function nameOf({ value }: Document): string | undefined {
  const kind = kindOf(value);
  if (kind !== PROFILE_KIND && kind !== EXACT_KIND) return undefined;
  const { metadata } = value as { readonly metadata?: { readonly name?: unknown } };
  return typeof metadata?.name === 'string' ? metadata.name : undefined;
}

/** Returns whether the text is JSON with a default action: no other format here has this field. */
export function isSeccomp(content: string): boolean {
  if (!/^\s*\{/.test(content) || !content.includes('"defaultAction"')) return false;
  return !content.includes('"apiVersion"');
}

async function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}

/**
 * Reads a file of at most 1 MiB as UTF-8.
 * @throws ENTITLEMENTS_UNREADABLE
 */
export async function readText(file: string): Promise<string> {
  try {
    return (await readGivenFile(file, MAX_BYTES)).toString('utf8');
  } catch (error) {
    throw entitlementsError('ENTITLEMENTS_UNREADABLE', {
      kind: 'invalid',
      attempted: 'read file',
      on: file,
      why:
        (error as NodeJS.ErrnoException).code === 'ENOENT'
          ? 'there is no such file'
          : fileReason(error, file),
      fix: 'name a readable file of at most 1 MiB',
    });
  }
}

function invalid(file: string, why: string): Error {
  return entitlementsError('ENTITLEMENTS_BAD_PROFILE', {
    kind: 'invalid',
    attempted: 'read profile',
    on: file,
    why,
    fix: 'correct the lines named',
  });
}

function unknown(text: string, why = 'there is no such profile and no such file'): Error {
  const near = closest(text, builtinNames());
  return entitlementsError('ENTITLEMENTS_UNKNOWN_PROFILE', {
    kind: 'invalid',
    attempted: 'find entitlement profile',
    on: text,
    why,
    fix: `${near === undefined ? '' : `did you mean ${near}? `}use ${builtinNames().join(', ')}, a file, FILE#name, or name the files that define it by --policy`,
  });
}
