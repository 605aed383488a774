import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { text } from 'node:stream/consumers';
import { PassThrough } from 'node:stream';
import { checkScreenshots, findChromium, takeScreenshots } from './screenshots.ts';

const chromium = findChromium();
const skip = chromium === undefined ? 'no chromium: apt-get install chromium' : false;

function siteOf(t: TestContext, page: string): string {
  const site = mkdtempSync(join(tmpdir(), 'portcullis-site-'));
  t.after(() => rmSync(site, { recursive: true }));
  writeFileSync(join(site, 'page.html'), page);
  return site;
}
const shots = { page: { page: 'page.html', height: 600 } };
const style = `<style>
  body { background: white; color: black; font-size: 40px }
  @media (prefers-color-scheme: dark) { body { background: black; color: white } }
</style>`;

describe('screenshots', { skip }, () => {
  it('show a page in the light and in the dark theme', async (t) => {
    const site = siteOf(t, `<!doctype html>${style}<p>${'A page with some text. '.repeat(20)}</p>`);
    assert.deepEqual(await takeScreenshots(chromium ?? '', site, shots), []);
    assert.deepEqual(readdirSync(join(site, 'screenshots')).sort(), ['page-dark.png', 'page-light.png']);
  });

  it('report an empty page, a page without a dark theme, and a file that does not exist', async (t) => {
    const empty = siteOf(t, `<!doctype html>${style}<script src="/gone.js"></script>`);
    assert.deepEqual(await takeScreenshots(chromium ?? '', empty, shots), [
      'the picture of page.html in the light theme: it is empty',
      'the picture of page.html in the dark theme: it is empty',
      'a page asks for /gone.js, which does not exist',
    ]);
    const light = siteOf(
      t,
      `<!doctype html><body style="background: white"><p>${'Only light. '.repeat(200)}</p>`,
    );
    const [problem, ...others] = await takeScreenshots(chromium ?? '', light, shots);
    assert.match(
      problem ?? '',
      /^the picture of page\.html in the dark theme: it has the other theme: its brightness is 2\d\d/,
    );
    assert.deepEqual(others, []);
  });
});

it('without Chromium, no screenshot is taken, and the output says so', async (t) => {
  const out = new PassThrough();
  assert.equal(await checkScreenshots(siteOf(t, ''), out, undefined), true);
  out.end();
  assert.equal(await text(out), 'no screenshots: Chromium is not installed (apt-get install chromium)\n');
});
