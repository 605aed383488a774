import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import type { Browser, HTTPRequest, Page } from 'puppeteer-core';
import { goodState, post, requestOf, tokens } from '../../fleet/fleet.fixture.ts';
import { eventNames } from '../../fleet/records/record-names.ts';
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
  const shows = (page: Page, status: string) =>
    page.waitForFunction(`document.getElementById('status').textContent === ${JSON.stringify(status)}`);

  it('skips to the content of the view that is shown', async (t) => {
    const { page } = await open(t);
    await visit(page, 'nodes', 'Nodes');
    await page.focus('.skip');
    await page.keyboard.press('Enter');
    await page.waitForFunction("document.activeElement?.id === 'main'");
    assert.equal(await page.evaluate('location.hash'), '#/nodes');
    assert.equal(await textOf(page, 'h1'), 'Nodes');
  });

  it('finds a reason code in lower case, and corrects a code that the aggregator refuses', async (t) => {
    const { page } = await open(t);
    await shows(page, '3 verdicts');
    await page.type('#reason', '1');
    await page.waitForFunction("/answered 400/.test(document.querySelector('main').textContent)");
    await page.waitForSelector('#reason');
    await page.keyboard.press('Backspace');
    await page.keyboard.type('no_such_code');
    await shows(page, '0 verdicts');
    assert.doesNotMatch(await textOf(page, 'main'), /answered/u);
  });

  it('keeps the view that was opened while the list of verdicts was being loaded', async (t) => {
    const { page } = await open(t);
    await shows(page, '3 verdicts');
    const held = Promise.withResolvers<HTTPRequest>();
    page.on('request', (request) => {
      if (request.url().includes('/verdicts/count?')) held.resolve(request);
      else void request.continue();
    });
    await page.setRequestInterception(true);
    await page.type('#image', 'a');
    const late = await held.promise;
    await visit(page, 'nodes', 'Nodes');
    const answered = page.waitForResponse((response) => response.request() === late);
    await late.respond({ status: 503, contentType: 'application/json', body: '{}' });
    await (await answered).text();
    await page.evaluate('new Promise((resolve) => requestAnimationFrame(resolve))');
    assert.equal(await textOf(page, 'h1'), 'Nodes');
    assert.equal(await textOf(page, '#status'), '');
  });

  it('is asked again for a token that the aggregator refuses, and for a text that is no token', async (t) => {
    const { page } = await open(t);
    for (const wrong of ['token-of-nobody-0123456789', 'token-of-the-…']) {
      await page.evaluate('sessionStorage.clear()');
      await page.reload();
      await page.waitForSelector('#token');
      await page.type('#token', wrong);
      await page.keyboard.press('Enter');
      await page.waitForFunction("/refuses/.test(document.querySelector('main').textContent)");
      await page.type('#token', tokens.r);
      await page.keyboard.press('Enter');
      await page.waitForSelector('#row-0');
    }
  });

  it('sees that a node left out entries of its state', async (t) => {
    const { page, service } = await open(t);
    const body = JSON.stringify({ ...goodState, omitted: 1500 });
    const record = { event: eventNames.state, time: 0, attributes: new Map(), body };
    await post(service.url, requestOf('a', [record]));
    await visit(page, 'node/a', 'a');
    assert.match(await textOf(page, 'main'), /Left out1,500 entries/u);
  });
});
