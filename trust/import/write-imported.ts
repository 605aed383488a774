import { lstat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PortcullisError, fileReason, isPortcullisError } from '../../base/errors/index.ts';
import { createFileAtomic, kindOfUnwritten, makeFolderSync } from '../../base/storage/index.ts';
import { writeYaml } from '../../base/schema/index.ts';
import { apiVersion, trustPolicySchemaId } from '../policy/schema.ts';
import type { ImportedPolicy, Unmapped } from './mapping/imported.ts';

/**
 * Returns the imported rules as a policy file, each with its origin. Lists the parts without a counterpart at
 * the top.
 */
export function importedText(
  { rules, unmapped }: Pick<ImportedPolicy, 'rules' | 'unmapped'>,
  source: string,
): string {
  const head = [
    `# yaml-language-server: $schema=${trustPolicySchemaId}`,
    ...comment(`Imported from ${source}. An image that no rule matches is denied.`),
    ...(unmapped.length === 0
      ? []
      : comment(
          `Not mapped, and therefore never admitted more easily:\n${unmapped.map(describeUnmapped).join('\n')}`,
        )),
    `apiVersion: ${apiVersion}`,
    'kind: TrustPolicy',
    'default: deny',
  ];
  if (rules.length === 0) return `${[...head, 'rules: []'].join('\n')}\n`;
  const texts = rules.map(({ comment: says, rule }) =>
    [...comment(says), writeYaml([rule]).trimEnd()].join('\n').replaceAll(/^(?=.)/gm, '  '),
  );
  return `${[...head, 'rules:', ...texts].join('\n')}\n`;
}

/** Describes such a part in one line: `policy.yaml:12:3: spec.authorities[0].ctlog: why; became what`. */
export function describeUnmapped({ file, line, column, path, why, became }: Unmapped): string {
  return `${file}:${line}:${column}: ${path === '' ? '' : `${path}: `}${why}; ${became}`;
}

function comment(text: string): readonly string[] {
  return text.split('\n').map((line) => `# ${line.replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, '?')}`.trimEnd());
}

/**
 * Writes `policy.yaml` and the files that it refers to into a folder. Never overwrites an existing file.
 * @throws PortcullisError `TRUST_IMPORT_NOT_WRITTEN`
 */
export async function writeImported(
  imported: ImportedPolicy,
  source: string,
  folder: string,
): Promise<readonly string[]> {
  // The policy is last: if a file of it cannot be written, there is no policy that lacks the file.
  const files = [
    ...imported.files,
    { name: 'policy.yaml', bytes: Buffer.from(importedText(imported, source)) },
  ];
  const notWritten = (file: string, error: unknown): PortcullisError => {
    const kind = kindOfUnwritten(error);
    return new PortcullisError({
      code: 'TRUST_IMPORT_NOT_WRITTEN',
      kind,
      attempted: 'write imported policy',
      on: file,
      why: fileReason(error, file),
      fix:
        kind !== 'invalid' && isPortcullisError(error)
          ? error.failure.fix
          : 'name a new folder: --out FOLDER',
    });
  };
  const exists = (file: string): PortcullisError =>
    notWritten(file, new Error('it exists already, and nothing is overwritten'));
  const named = files.map(({ name, bytes }) => ({ file: join(folder, name), bytes }));
  for (const { file } of named)
    if ((await lstat(file).catch(() => undefined)) !== undefined) throw exists(file);
  for (const { file, bytes } of named) {
    let created: boolean;
    try {
      makeFolderSync(dirname(file), 0o755);
      created = await createFileAtomic(file, bytes, { mode: 0o644 });
    } catch (error) {
      throw notWritten(file, error);
    }
    if (!created) throw exists(file);
  }
  return named.map(({ file }) => file);
}
