import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { accessibilityProblems } from './accessibility.ts';
import { findChromium } from './screenshots.ts';

const chromium = findChromium();
const skip = chromium === undefined ? 'no chromium: apt-get install chromium' : false;

it('reports text with too little contrast, in the theme that has it', { skip }, async (t) => {
  const site = mkdtempSync(join(tmpdir(), 'portcullis-site-'));
  t.after(() => rmSync(site, { recursive: true }));
  const pageOf = (dark: string): string => `<!doctype html><html lang="en"><title>A page</title><style>
    body { background: white; color: black }
    @media (prefers-color-scheme: dark) { body { background: black; color: ${dark} } }
  </style><main><p>Text.</p></main>`;
  writeFileSync(join(site, 'clear.html'), pageOf('white'));
  writeFileSync(join(site, 'unclear.html'), pageOf('#444'));
  assert.deepEqual(await accessibilityProblems(chromium ?? '', site, ['clear.html', 'unclear.html']), [
    'unclear.html in the dark theme: color-contrast (1 times): <p>Text.</p>',
  ]);
});
