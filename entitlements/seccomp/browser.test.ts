import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { createContext, runInContext } from 'node:vm';
import { build } from 'esbuild';

const room = join(import.meta.dirname, '..');

/** The APIs of a browser that the code uses, and nothing of Node. */
const browser = { TextEncoder, TextDecoder, structuredClone };

describe('profiles, filters and their comparison outside Node', () => {
  it('can be bundled for a browser, and run without require and process', async () => {
    const { outputFiles } = await build({
      stdin: {
        resolveDir: room,
        loader: 'ts',
        contents: `
          import { checkProfiles } from './document/check.ts';
          import { lintProfiles } from './lint/lint.ts';
          import { builtinProfile } from './profile/builtin.ts';
          import { writeExactProfile } from './document/exact.ts';
          import { contains } from './compare/contains.ts';
          import { join, meet } from './compare/lattice.ts';
          import { generateBpf } from './seccomp/bpf-generator.ts';
          import { exportOci } from './seccomp/oci-export.ts';
          import { policyFromOci } from './seccomp/oci-import.ts';
          globalThis.result = (text) => {
            const { profiles, problems } = checkProfiles([{ file: 'web.yaml', text }]);
            const profile = profiles[0].profile;
            const usual = builtinProfile('default');
            return {
              problems: problems.length,
              findings: lintProfiles([{ file: 'web.yaml', text }]).length >= 0,
              within: contains(usual, meet(usual, profile)).yes && contains(join(usual, profile), profile).yes,
              instructions: generateBpf(profile.syscalls, 'x86_64').length / 8,
              rules: policyFromOci(exportOci(profile.syscalls, 'x86_64')).rules.size,
              text: writeExactProfile('web', profile).startsWith('apiVersion'),
            };
          };`,
      },
      bundle: true,
      write: false,
      platform: 'browser',
      format: 'iife',
      loader: { '.json': 'json' },
      logLevel: 'silent',
    });
    const context = createContext({ ...browser });
    runInContext(outputFiles[0]?.text ?? '', context);
    const text =
      'apiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: web }\nentitlements: [network.user]\n';
    const found = runInContext(`JSON.stringify(result(${JSON.stringify(text)}))`, context) as string;
    const { instructions, rules, ...rest } = JSON.parse(found) as Readonly<Record<string, number>>;
    assert.deepEqual(rest, { problems: 0, findings: true, within: true, text: true });
    assert.ok(Number(instructions) > 50 && Number(rules) > 200);
  });
});
