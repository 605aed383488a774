import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import type { Browser } from 'puppeteer-core';
import { buildConsole } from '../../packaging/console.ts';
import { findChromium } from '../../site/screenshots.ts';
import { launchChromium, openConsole, textOf, visit } from './console.fixture.ts';

const chromium = findChromium();
const skip = chromium === undefined ? 'no chromium: apt-get install chromium' : false;

describe('a reader of the console', { skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-console-use-'));
  let browser: Browser;
  before(async () => {
    await buildConsole(join(folder, 'console'));
    browser = await launchChromium(chromium ?? '', join(folder, 'profile'));
  });
  after(async () => {
    await browser.close();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  });

  const open = (t: TestContext) => openConsole(t, browser, folder, 3);

  it('skips to the content of the view that is shown', async (t) => {
    const { page } = await open(t);
    await visit(page, 'nodes', 'Nodes');
    await page.focus('.skip');
    await page.keyboard.press('Enter');
    await page.waitForFunction("document.activeElement?.id === 'main'");
    assert.equal(await page.evaluate('location.hash'), '#/nodes');
    assert.equal(await textOf(page, 'h1'), 'Nodes');
  });
});
