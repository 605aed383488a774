import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PortcullisError, fileReason } from '../../base/errors/index.ts';
import { readGivenFile } from '../../base/files/index.ts';
import { loadPolicy } from '../policy/load.ts';
import type { ImportedPolicy, Unmapped } from './mapping/imported.ts';

/** The formats of other tools' policies that can be read. */
export const importFormats = ['containers', 'cluster-image-policy', 'notation', 'kyverno'] as const;
/** The formats of other tools' policies that can be written. */
export const exportFormats = [
  'containers',
  'cluster-image-policy',
  'notation',
  'validating-admission-policy',
] as const;
/** A format that can be imported. */
export type ImportFormat = (typeof importFormats)[number];
/** A format that can be exported. */
export type ExportFormat = (typeof exportFormats)[number];

/**
 * Converts another tool's policy to ours. `containers`: policy.json, followed by registries.d folders or
 * files; `notation`: trustpolicy.json.
 * @param standardInput the bytes of the path `-`; without them, `-` is the name of a file
 * @throws PortcullisError `TRUST_IMPORT_INVALID`, `TRUST_IMPORT_UNREADABLE`
 */
export async function importPolicy(
  from: ImportFormat,
  paths: readonly string[],
  standardInput?: Uint8Array,
): Promise<ImportedPolicy> {
  switch (from) {
    case 'cluster-image-policy':
      return (await import('./sigstore/cluster-image-policy.ts')).importClusterImagePolicies(
        paths,
        standardInput,
      );
    case 'kyverno':
      return (await import('./kyverno/kyverno-policy.ts')).importKyvernoPolicies(paths, standardInput);
    case 'notation': {
      const { importNotation } = await import('./notation/import.ts');
      const parts = await Promise.all(
        paths.map(async (file) =>
          importNotation(await readText(file, standardInput), { file, truststoreFolder: 'truststore' }),
        ),
      );
      return {
        rules: parts.flatMap(({ rules }) => rules),
        files: parts.flatMap(({ files }) => files),
        unmapped: parts.flatMap(({ unmapped }) => unmapped),
      };
    }
    case 'containers': {
      const { importContainersPolicy } = await import('./containers/import.ts');
      const [file = '', ...registries] = paths;
      const registriesD = (await Promise.all(registries.map(filesAt))).flat();
      return importContainersPolicy({
        policyJson: { file, text: await readText(file, standardInput) },
        directory: process.cwd(),
        ...(registries.length === 0
          ? {}
          : {
              registriesD: await Promise.all(
                registriesD.map(async (one) => ({ file: one, text: await readText(one) })),
              ),
            }),
      });
    }
  }
}

/** The files of an export, and the parts that they cannot express. */
export interface ExportedPolicy {
  readonly files: readonly { readonly name: string; readonly text: string }[];
  readonly unmapped: readonly Unmapped[];
}

/**
 * Converts our policy to another tool's format. The result is never less strict, except for
 * `validating-admission-policy`, which has the rules that need no evidence.
 * @throws PortcullisError `TRUST_POLICY_INVALID`
 */
export async function exportPolicy(to: ExportFormat, paths: readonly string[]): Promise<ExportedPolicy> {
  const { policy } = await loadPolicy({ paths });
  switch (to) {
    case 'containers': {
      const { policyJson, registriesD, unmapped } = (
        await import('./containers/export.ts')
      ).exportContainersPolicy(policy);
      const files = [
        { name: 'policy.json', text: policyJson },
        { name: 'registries.d/portcullis.yaml', text: registriesD },
      ];
      return { files, unmapped };
    }
    case 'cluster-image-policy': {
      const { text, unmapped } = (await import('./sigstore/export.ts')).exportClusterImagePolicies(policy);
      return { files: [{ name: 'cluster-image-policy.yaml', text }], unmapped };
    }
    case 'validating-admission-policy': {
      const { exportAdmissionPolicies } = await import('./admission-policy/export.ts');
      const { images, digests, unmapped } = exportAdmissionPolicies(policy);
      const files = [
        { name: 'portcullis-images.yaml', text: images },
        { name: 'portcullis-digests.yaml', text: digests },
      ];
      return { files, unmapped };
    }
    case 'notation': {
      const { text, unmapped } = (await import('./notation/export.ts')).exportNotation(policy);
      return { files: text === undefined ? [] : [{ name: 'trustpolicy.json', text }], unmapped };
    }
  }
}

async function filesAt(path: string): Promise<readonly string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path];
    return (await readdir(path))
      .filter((name) => name.endsWith('.yaml'))
      .sort()
      .map((name) => join(path, name));
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** More than any configuration of another tool has. */
const mostBytes = 16 * 2 ** 20;

async function readText(file: string, standardInput?: Uint8Array): Promise<string> {
  if (file === '-' && standardInput !== undefined) return Buffer.from(standardInput).toString('utf8');
  try {
    return (await readGivenFile(file, mostBytes)).toString('utf8');
  } catch (error) {
    throw unreadable(file, error);
  }
}

function unreadable(file: string, error: unknown): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_IMPORT_UNREADABLE',
    kind: 'invalid',
    attempted: 'read policy to import',
    on: file,
    why: fileReason(error, file),
    fix: 'name readable files',
  });
}
