/**
 * A program that uses trust as a library compiles against its declarations alone, with all of them checked.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import ts from 'typescript';
import { readLibraries } from './libraries.ts';

const root = join(import.meta.dirname, '..');

const program = `
import { decide, loadPolicy, openRegistries, parsePublicKey, signatureFormats, verifyImage } from './types/trust/index.js';
import type { Dossier, PolicyKey, SignatureFormat, SignatureScheme, Signer, TrustPolicy, Verdict } from './types/trust/index.js';
import { gateText } from './types/trust/gate/index.js';
import type { GateResult } from './types/trust/gate/index.js';

export async function judge(reference: string, paths: readonly string[]): Promise<Verdict['outcome']> {
  const { policy } = await loadPolicy({ paths });
  const registry = await openRegistries({ mirrors: [], insecureHosts: [] });
  const { verdict } = await verifyImage({ reference, namespace: '', policy, registry, now: new Date() });
  await registry.close();
  return verdict.outcome;
}

export function signerElsewhere(key: PolicyKey, ask: (bytes: Uint8Array, scheme?: SignatureScheme) => Promise<Buffer>): Signer {
  return { public: key, certificates: [], witnesses: { logs: [], timestamps: [] }, sign: ask, close: () => Promise.resolve() };
}

export const report = (result: GateResult): string => gateText(result);
export const formats: readonly SignatureFormat[] = signatureFormats;
export const key: PolicyKey | { readonly problem: string } = parsePublicKey('k.pub', '');
export const later = (dossier: Dossier, policy: TrustPolicy): Verdict =>
  decide({ dossier, reference: dossier.reference, namespace: '', platform: { os: 'linux', architecture: 'amd64' }, policy, now: new Date() });
// @ts-expect-error there is no such outcome
export const wrong: Verdict['outcome'] = 'maybe';
`;

test('the types of portcullis/trust and of its parts need no package that is not installed', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-types-'));
  try {
    const common: ts.CompilerOptions = {
      target: ts.ScriptTarget.ES2024,
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      strict: true,
      exactOptionalPropertyTypes: true,
      types: ['node'],
      typeRoots: [join(root, 'node_modules/@types')],
    };
    const types = join(folder, 'types');
    const { config } = ts.readConfigFile(join(root, 'packaging/declarations.json'), (path) =>
      ts.sys.readFile(path),
    ) as { config: object };
    const { options } = ts.parseJsonConfigFileContent(config, ts.sys, join(root, 'packaging'));
    const sources = readLibraries().flatMap(({ name, source }) =>
      name.startsWith('trust') ? [join(root, source)] : [],
    );
    ts.createProgram(sources, { ...options, outDir: types }).emit();
    const file = join(folder, 'program.mts');
    writeFileSync(file, program);
    const compiled = ts.createProgram([file], {
      ...common,
      noEmit: true,
      allowImportingTsExtensions: true,
      skipLibCheck: false,
    });
    const problems = ts.getPreEmitDiagnostics(compiled).map((one) => {
      const where = one.file === undefined ? '' : one.file.fileName.replace(folder, '');
      return `${where}: ${ts.flattenDiagnosticMessageText(one.messageText, ' ')}`;
    });
    assert.deepEqual(problems, []);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
