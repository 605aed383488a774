import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { build } from 'esbuild';
import { linkedFiles, withoutMissingLinks } from './links.ts';
import { bundledPackages, isAllowed, notices } from './notices.ts';

describe('the notices of bundled packages', () => {
  it('list exactly the packages that esbuild bundled, each copy with its version', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-notices-'));
    try {
      const plant = (path: string, version: string, main: string): void => {
        const at = join(folder, 'node_modules', path);
        mkdirSync(at, { recursive: true });
        const name = path.split('node_modules/').at(-1);
        writeFileSync(
          join(at, 'package.json'),
          JSON.stringify({ name, version, license: 'MIT', main: 'main.js' }),
        );
        writeFileSync(join(at, 'main.js'), main);
        writeFileSync(join(at, 'license.md'), `MIT, ${version}\n`);
      };
      plant('@scope/outer', '1.0.0', "export { inner } from 'inner';");
      plant('@scope/outer/node_modules/inner', '2.0.0', 'export const inner = Math.sqrt(2);');
      plant('inner', '3.0.0', 'export const inner = Math.sqrt(3); export const unused = 1;');
      // A part of another project, with its licence beside it.
      mkdirSync(join(folder, 'node_modules/inner/vendored/lib'), { recursive: true });
      writeFileSync(
        join(folder, 'node_modules/inner/vendored/lib/part.js'),
        'export const part = Math.sqrt(5);',
      );
      writeFileSync(join(folder, 'node_modules/inner/vendored/LICENSE'), 'BSD, vendored\n');
      plant('installed', '4.0.0', 'export const never = 1;');
      writeFileSync(
        join(folder, 'entry.js'),
        "import { inner } from '@scope/outer'; import { inner as own } from 'inner'; import { part } from 'inner/vendored/lib/part.js'; process.stdout.write(String(inner + own + part));",
      );
      const { metafile } = await build({
        absWorkingDir: folder,
        entryPoints: ['entry.js'],
        bundle: true,
        write: false,
        outdir: 'out',
        metafile: true,
        format: 'esm',
        platform: 'node',
      });
      assert.deepEqual(
        bundledPackages(metafile, folder).map(({ name, version, text }) => [name, version, text]),
        [
          ['inner', '2.0.0', 'MIT, 2.0.0'],
          ['inner', '3.0.0', 'MIT, 3.0.0\n\nBSD, vendored'],
        ],
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('refuse a package without a text, and a licence that is not allowed', () => {
    const fine = { name: 'fine', version: '1.0.0', license: 'MIT', text: 'the text' };
    assert.match(notices([fine]), /^fine 1\.0\.0\nLicence: MIT\n\nthe text$/mu);
    assert.throws(
      () => notices([fine, { ...fine, name: 'bare', text: '' }]),
      /bare 1\.0\.0 has no licence text/,
    );
    assert.throws(
      () => notices([{ ...fine, name: 'copyleft', license: 'GPL-3.0-only' }]),
      /copyleft 1\.0\.0 has the licence "GPL-3\.0-only"/,
    );
  });

  for (const [expression, allowed] of [
    ['MIT', true],
    ['(Apache-2.0 AND BSD-3-Clause)', true],
    ['(MIT OR GPL-2.0)', false],
    ['UNLICENSED', false],
    ['', false],
  ] as const)
    it(`${allowed ? 'allow' : 'refuse'} the licence "${expression}"`, () =>
      assert.equal(isAllowed(expression), allowed));
});

describe('the links of the documents in the package', () => {
  const exists = (path: string): boolean => path === 'docs/policy.md';

  it('are kept if they lead to a file in the package, a URL or a heading', () => {
    const text =
      'See [policies](policy.md#rules), [the site](https://example.com/a.md) and [below](#below).\n';
    assert.equal(withoutMissingLinks('docs/tuf.md', text, exists), text);
    assert.deepEqual(linkedFiles('docs/tuf.md', text), ['docs/policy.md']);
  });

  it('become text and a path if the file is not in the package', () => {
    const text =
      'Read [daemon.ts](../runtime/daemon.ts#L3) and [runtime/](../runtime/).\n\n![A list](images/list.png)\n';
    const changed = withoutMissingLinks('docs/architecture.md', text, exists);
    assert.match(
      changed,
      /^Read daemon\.ts \(`runtime\/daemon\.ts`\) and runtime\/\.\n\nA list \(`docs\/images\/list\.png`\)\n\n---\n\nPaths without a link /u,
    );
    assert.deepEqual(linkedFiles('docs/architecture.md', changed), []);
  });
});
