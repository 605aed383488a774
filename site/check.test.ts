import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { it } from 'node:test';
import type { TestContext } from 'node:test';
import { deadLinks } from './check.ts';

function found(t: TestContext, files: Readonly<Record<string, string>>, base?: string): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-site-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return deadLinks(folder, base).map(({ page, target }) => `${page}: ${target}`);
}

it('accepts links to pages, places, folders and files that exist', (t) => {
  const links = [
    '/b',
    '/b.html#place',
    'b',
    '#here',
    '/folder/',
    '/source/x.ts.txt',
    'https://example.com/',
    'mailto:a@example.com',
  ];
  const text = `<h1 id="here">A</h1>${links.map((link) => `<a class="x" href="${link}">x</a>`).join('')}`;
  const files = {
    'a.html': text,
    'b.html': '<h2 id="place"></h2>',
    'folder/index.html': '',
    'source/x.ts.txt': '',
  };
  assert.deepEqual(found(t, files), []);
});

it('finds a page and a place that do not exist', (t) => {
  const files = {
    'a.html': '<a href="/gone">x</a><a href="/b#gone">x</a><img src="/gone.png">',
    'b.html': '<h2 id="place"></h2>',
  };
  assert.deepEqual(found(t, files), ['a.html: /gone', 'a.html: /b#gone', 'a.html: /gone.png']);
});

it('finds links that leave the path of the site on its server', (t) => {
  const links = ['/docs/b', '/docs/', 'b', '/b', '/docs/gone'].map((link) => `<a href="${link}">x</a>`);
  const files = { 'a.html': links.join(''), 'b.html': '', 'index.html': '' };
  assert.deepEqual(found(t, files, '/docs/'), ['a.html: /b', 'a.html: /docs/gone']);
});

it('finds a page without an icon, for which a browser asks then', (t) => {
  const files = {
    'a.html': '<head><link rel="icon" href="data:image/svg+xml,x"></head>',
    'b.html': '<head><title>B</title></head>',
  };
  assert.deepEqual(found(t, files), ['b.html: /favicon.ico']);
});

it('finds what a page would load from another host', (t) => {
  const files = {
    'a.html':
      '<script src="https://example.com/x.js"></script><link rel="stylesheet" href="//example.com/x.css">',
  };
  assert.deepEqual(found(t, files), ['a.html: https://example.com/x.js', 'a.html: //example.com/x.css']);
});
