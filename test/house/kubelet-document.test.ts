import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parse } from 'smol-toml';
import { configSchema } from '../../runtime/config/schema.ts';
import type { ConfigSchema } from '../../runtime/config/config-schema.ts';
import { findTool } from '../fixtures/tools.ts';

const text = readFileSync(join(import.meta.dirname, '../../docs/kubelet.md'), 'utf8');
const chapter = (title: string): string => text.slice(text.indexOf(title)).split(/\n#+ /)[0] ?? '';
const names = (words: string, key: string): boolean =>
  new RegExp(`(?<![A-Za-z0-9_])${key}(?![A-Za-z0-9_])`).test(words);

/** Every path of the configuration, with `*` for an arbitrary name. */
function paths(schema: ConfigSchema): readonly string[] {
  const entries = Object.entries(schema.properties ?? {});
  const further = schema.additionalProperties;
  if (typeof further === 'object') entries.push(['*', further as ConfigSchema]);
  return entries.flatMap(([key, below]) => [key, ...paths(below).map((path) => `${key}.${path}`)]);
}

describe('docs/kubelet.md', () => {
  it('names only options that the configuration has', () => {
    const known = paths(configSchema).map(
      (path) => new RegExp(`^${path.replaceAll('.', String.raw`\.`).replaceAll('*', '[^.]+')}$`),
    );
    const ours = new Set(Object.keys(configSchema.properties ?? {}));
    // The last cell of each row is about Portcullis. In other cells the same words may belong to another
    // runtime.
    const said = text
      .split('\n')
      .filter((line) => line.startsWith('|'))
      .flatMap((line) => [
        ...(line.split(' | ').at(-1) ?? '').matchAll(/`([A-Za-z]+(?:\.[A-Za-z]+)*)(?:: [^`]*)?`/g),
      ])
      .map((match) => match[1] ?? '')
      .filter((name) => ours.has(name.split('.')[0] ?? ''));
    assert.ok(said.length > 50);
    assert.deepEqual(
      said.filter((name) => !known.some((path) => path.test(name))),
      [],
    );
  });

  const containerd = findTool('containerd');
  it('has every option of containerd that a CRI node may set', { skip: containerd.skip }, () => {
    const { stdout } = spawnSync(containerd.path, ['config', 'default'], { encoding: 'utf8' });
    const document = chapter('### From containerd');
    const plugins = (parse(stdout)['plugins'] ?? {}) as Record<string, unknown>;
    const missing = Object.entries(plugins)
      .filter(([name]) => /\.cri\b|\.image-verifier\.|\.nri\.|tracing/.test(name))
      // The sections of two plugins without an equivalent here stand for all their options.
      .filter(([name]) => !(/\.image-verifier\.|\.nri\./.test(name) && document.includes(name)))
      .flatMap(([, table]) => keysOf(table))
      .filter((key) => !names(document, key));
    assert.deepEqual([...new Set(missing)], []);
  });

  const crio = findTool('crio');
  it('has every option of CRI-O', { skip: crio.skip }, () => {
    const { stdout } = spawnSync(crio.path, ['config', '--default'], { encoding: 'utf8' });
    const document = chapter('### From CRI-O');
    // Options with default values are comments there. The nri_… options are listed together.
    const options = [...stdout.matchAll(/^#? ?([a-z_]+) = /gm)]
      .map((match) => match[1] ?? '')
      .filter((key) => !key.startsWith('nri_'));
    assert.ok(options.length > 80);
    assert.deepEqual(
      [...new Set(options)].filter((key) => !names(document, key)),
      [],
    );
  });
});

/** The names of options, without the names of tables. */
function keysOf(value: unknown): readonly string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [];
  return Object.entries(value).flatMap(([key, below]) => {
    const inner = keysOf(below);
    return inner.length > 0 ? inner : [key];
  });
}
