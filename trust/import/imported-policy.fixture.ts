import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readFileSync } from 'node:fs';
import { loadPolicy } from '../policy/load.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import { importPolicy } from './convert.ts';
import type { ImportFormat } from './convert.ts';
import type { ImportedPolicy } from './mapping/imported.ts';
import { writeImported } from './write-imported.ts';

/** Returns a PEM public key, indented for a block of YAML. */
export function keyText(indent: number, name = 'ecdsa-p256'): string {
  const pem = readFileSync(join(import.meta.dirname, '../evidence/fixtures/keys', `${name}.pub`), 'utf8');
  return pem.trimEnd().replaceAll(/^/gm, ' '.repeat(indent));
}

/** Imports a text and loads the written policy: an imported policy must always be valid. */
export async function imported(
  from: ImportFormat,
  text: string,
): Promise<{ readonly result: ImportedPolicy; readonly policy: TrustPolicy }> {
  const folder = await mkdtemp(join(tmpdir(), 'trust-import-'));
  try {
    const file = join(folder, 'source.yaml');
    await writeFile(file, text);
    const result = await importPolicy(from, [file]);
    await writeImported(result, 'a test', join(folder, 'out'));
    const { policy } = await loadPolicy({ paths: [join(folder, 'out', 'policy.yaml')] });
    return { result, policy };
  } finally {
    await rm(folder, { recursive: true });
  }
}
