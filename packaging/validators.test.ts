import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { ValidateFunction } from 'ajv';
import { compileOptions } from '../base/schema/compile.ts';
import { bundleInto } from '../test/fixtures/built-bundle.ts';
import { runProgram } from '../test/fixtures/command.ts';
import { generated, validators } from './validators.ts';

const required = createRequire(import.meta.url);

/** Values that are wrong in different ways: of each type, and with each field of the schema as each type. */
function samples(schema: Readonly<Record<string, unknown>>): unknown[] {
  const simple = [null, true, 7, -1, '', 'text', [], ['text'], [{}], {}, { 'unknown-field': 1 }];
  const fields = Object.keys(schema['properties'] ?? {});
  const all = fields.flatMap((field) => simple.map((value) => ({ [field]: value })));
  return [...simple, ...all, Object.fromEntries(fields.map((field) => [field, {}]))];
}

describe('generated validators', () => {
  let folder = '';
  const fileOf = (name: string): string => join(folder, 'dist', validators.get(name)?.file ?? '');
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-validators-'));
    await bundleInto(join(folder, 'dist'));
  });
  after(() => rmSync(folder, { recursive: true }));

  for (const [name, schema] of Object.entries(generated))
    it(`${name} reports the same errors as one that ajv compiles`, () => {
      const compiled = new Ajv2020(compileOptions).compile(schema);
      const validator = required(fileOf(name)) as ValidateFunction;
      for (const sample of samples(schema)) {
        const verdicts = [validator(sample), compiled(sample)];
        assert.deepEqual(
          [verdicts[0], validator.errors],
          [verdicts[1], compiled.errors],
          JSON.stringify(sample),
        );
      }
    });

  describe('the daemon that checks its configuration', () => {
    const file = (): string => fileOf('daemon-config');
    /** @returns what a daemon says about a wrong configuration */
    async function refusal(): Promise<string> {
      const config = join(folder, 'config.yaml');
      writeFileSync(config, 'logLevel: 7\n');
      const program = join(folder, 'dist/portcullis.js');
      return (await runProgram(process.execPath, [program, 'daemon', '--config', config], {})).stderr;
    }

    it('uses the generated validator', async () => {
      const text = readFileSync(file(), 'utf8');
      writeFileSync(file(), 'process.stderr.write("the validator is loaded"); module.exports = () => true;');
      const planted = await refusal();
      writeFileSync(file(), text);
      assert.match(planted, /the validator is loaded/);
      assert.match(await refusal(), /logLevel/);
    });

    it('compiles the schema when the file is gone or cannot be read', async () => {
      const said = await refusal();
      // Reading a folder as a file fails for root, too.
      rmSync(file());
      assert.equal(await refusal(), said);
      mkdirSync(file());
      assert.equal(await refusal(), said);
    });
  });
});
