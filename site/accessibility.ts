/**
 * Checks pages of the built site against WCAG 2.2, levels A and AA, with axe-core in a headless Chromium.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { launch } from 'puppeteer-core';
import type { Page } from 'puppeteer-core';
import { serveSite } from './server.ts';

/** The result of axe-core, as far as it is read. */
interface AxeResult {
  readonly violations: readonly {
    readonly id: string;
    readonly nodes: readonly { readonly html: string }[];
  }[];
  readonly passes: readonly unknown[];
}

const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];
/** Rules that VitePress' own menu and search button violate on each page. */
const ofVitePress = new Set(['nested-interactive', 'label-content-name-mismatch']);
const themes = ['light', 'dark'];

/**
 * Returns the violations on the pages in both themes, each with the first element that it concerns.
 * @param pages below the folder of the site
 * @throws if Chromium cannot open a page, or axe-core finds nothing to check on it
 */
export async function accessibilityProblems(
  chromium: string,
  site: string,
  pages: readonly string[],
  base = '/',
): Promise<string[]> {
  const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  const profile = mkdtempSync(join(tmpdir(), 'portcullis-chromium-'));
  const server = await serveSite(site, base, new Set());
  const browser = await launch({
    executablePath: chromium,
    userDataDir: profile,
    // The pages are our own, and the sandbox of Chromium does not run as root.
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking'],
  });
  try {
    const problems: string[] = [];
    const page = await browser.newPage();
    await page.setViewport({ width: 1280, height: 800 });
    for (const path of pages)
      for (const theme of themes) {
        await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: theme }]);
        await page.goto(`${server.url}${path}`, { waitUntil: 'networkidle0' });
        for (const violation of await violationsOf(page, axe, path))
          problems.push(`${path} in the ${theme} theme: ${violation}`);
      }
    return problems;
  } finally {
    await browser.close();
    server.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function violationsOf(page: Page, axe: string, path: string): Promise<string[]> {
  const { violations, passes } = (await page.evaluate(
    `${axe}; axe.run({ runOnly: ${JSON.stringify(rules)} })`,
  )) as AxeResult;
  if (passes.length === 0) throw new Error(`check ${path}: axe-core found nothing to check`);
  return violations
    .filter(({ id }) => !ofVitePress.has(id))
    .map(({ id, nodes }) => `${id} (${nodes.length} times): ${nodes[0]?.html ?? ''}`);
}
