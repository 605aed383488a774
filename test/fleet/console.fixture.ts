import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { launch } from 'puppeteer-core';
import type { Browser, Page } from 'puppeteer-core';
import {
  access,
  goodState,
  post,
  requestOf,
  rowRecord,
  sourceOf,
  startFleet,
  temporaryFolder,
  tokens,
} from '../../fleet/fleet.fixture.ts';
import { eventNames } from '../../fleet/records/record-names.ts';
import { openKit } from '../../trust/verdict-log/log.fixture.ts';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
/** A text that a page must show, and never interpret. */
export const hostile = '<img src=x onerror="window.hacked=1">"&\u202e';

interface Violation {
  readonly id: string;
  readonly nodes: readonly { readonly html: string }[];
}

/** Starts Chromium without a window. */
export const launchChromium = (executablePath: string, userDataDir: string): Promise<Browser> =>
  launch({
    executablePath,
    userDataDir,
    // The pages are our own, and the sandbox of Chromium does not run as root.
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking'],
  });

/**
 * Opens the console on an aggregator with the log of one node, and a hostile state.
 * @param folder contains the built console in `console`
 */
export async function openConsole(t: TestContext, browser: Browser, folder: string, verdicts: number) {
  const data = await temporaryFolder(t);
  const kit = await openKit(t);
  await kit.append(verdicts);
  await kit.log.checkpoint();
  const service = await startFleet(t, { data, access, console: join(folder, 'console') });
  const source = sourceOf(kit);
  const rows = await source.rows(0, 10_000);
  const event = (name: string, body: string) => ({ event: name, time: 0, attributes: new Map(), body });
  const container = { id: 'c', namespace: 'pay', pod: 'web-1', name: hostile };
  const state = {
    ...goodState,
    running: [{ ...container, reference: hostile, imageId: 'sha256:1', verdict: '' }],
    degraded: [{ ...container, reasons: [hostile] }],
  };
  const checkpoint = await source.checkpoint();
  await post(service.url, requestOf('a', rows.map(rowRecord)));
  await post(
    service.url,
    requestOf('a', [
      event(eventNames.checkpoint, checkpoint?.note ?? ''),
      event(eventNames.state, JSON.stringify(state)),
    ]),
  );
  const page = await browser.newPage();
  t.after(() => page.close());
  const problems: string[] = [];
  page.on('pageerror', (thrown) => problems.push(String(thrown)));
  page.on('console', (message) => {
    // The first request has no token.
    if (message.type() === 'error' && !message.text().includes('401')) problems.push(message.text());
  });
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== service.url) problems.push(request.url());
  });
  await page.setViewport({ width: 1280, height: 800 });
  await page.goto(`${service.url}/`);
  await page.waitForSelector('#token');
  await page.type('#token', tokens.r);
  await page.keyboard.press('Enter');
  await page.waitForSelector('#row-0');
  return { page, problems, data, service, rows, kit };
}

/** Returns the text of the first element that a selector matches. */
export const textOf = (page: Page, selector: string): Promise<string> =>
  page.$eval(selector, (found) => (found as unknown as { textContent: string }).textContent);
/** Opens a view of the console, and waits for its heading. */
export const visit = async (page: Page, view: string, heading: string): Promise<void> => {
  await page.evaluate(`location.hash = ${JSON.stringify(`#/${view}`)}`);
  await page.waitForFunction(
    `document.querySelector('h1')?.textContent.includes(${JSON.stringify(heading)})`,
  );
};

/** Returns what violates WCAG 2.2, levels A and AA, in the light and in the dark theme. */
export async function violations(page: Page): Promise<string[]> {
  const found: string[] = [];
  for (const theme of ['light', 'dark']) {
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: theme }]);
    // DevTools evaluates it in the page, whose policy allows no script of others.
    const result = (await page.evaluate(
      `${axe}; axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] })`,
    )) as { violations: readonly Violation[]; passes: readonly unknown[] };
    assert.ok(result.passes.length > 10);
    for (const { id, nodes } of result.violations) found.push(`${theme} ${id}: ${nodes[0]?.html}`);
  }
  return found;
}
