import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { importConfiguration } from './import.ts';
import type { Imported, ImportSource } from './import.ts';

const converted = (kind: ImportSource['kind'], text: string): Imported =>
  importConfiguration([{ kind, file: 'c', text }]);
const leftOf = ({ findings }: Imported): readonly string[] =>
  findings.filter(({ outcome }) => outcome === 'left').map(({ key }) => key);

describe('a value that is not valid in config.yaml', () => {
  it('of one insecure registry does not omit the other ones', () => {
    const text = '[crio.image]\ninsecure_registries = ["a b", "a.test:5000", "c d"]\n';
    const imported = converted('crio', text);
    assert.deepEqual(imported.settings, { registries: { insecure: ['a.test:5000'] } });
    assert.deepEqual(leftOf(imported), ['registries.insecure[0]', 'registries.insecure[1]']);
  });

  it('that is a subnet of insecure registries is named, with its place in the file', () => {
    const text = '[crio.image]\ninsecure_registries = ["10.0.0.0/8", "a.test:5000"]\n';
    const { settings, findings } = converted('crio', text);
    assert.deepEqual(settings, { registries: { insecure: ['a.test:5000'] } });
    const [{ key, note } = { key: '', note: '' }] = findings.filter(({ outcome }) => outcome === 'left');
    assert.equal(key, 'crio.image.insecure_registries');
    assert.match(note, /10\.0\.0\.0\/8 as HOST/u);
  });

  // A URL of a mirror has at most 1,024 characters.
  const mirrors = ['m.test', `n.test/${'n'.repeat(1024)}`].map(
    (location) => `[[registry.mirror]]\nlocation = "${location}"\n`,
  );
  const tooLong = ['registries.prefixes["a.test"].mirrors[1].url'];

  it('of one registry does not admit the blocked ones', () => {
    const text = `[[registry]]\nlocation = "bad.test"\nblocked = true\n[[registry]]\nlocation = "a.test"\n${mirrors.join('')}`;
    const imported = converted('registries', text);
    assert.deepEqual(imported.settings, { registries: { prefixes: { 'bad.test': { blocked: true } } } });
    assert.deepEqual(leftOf(imported), tooLong);
  });

  it('of a registry that is not a source of its images does not make it one', () => {
    const text = `[[registry]]\nprefix = "a.test"\nlocation = "b.test"\n${mirrors.join('')}`;
    const imported = converted('registries', text);
    assert.deepEqual(imported.settings, { registries: { prefixes: { 'a.test': { blocked: true } } } });
    assert.deepEqual(leftOf(imported), tooLong);
  });
});
