/**
 * Writes the pictures of the console in docs/fleet.md: `sh packaging/node test/fleet/pictures.ts`. Needs
 * Chromium.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { launch } from 'puppeteer-core';
import { startFleetService } from '../../fleet/index.ts';
import { openFleetStore } from '../../fleet/store/store.ts';
import { buildConsole } from '../../packaging/console.ts';
import { findChromium } from '../../site/screenshots.ts';

const docs = join(import.meta.dirname, '../../docs/images');
const folder = mkdtempSync(join(tmpdir(), 'pc-pictures-'));
const time = Date.parse('2026-03-02T09:30:00Z');
const images = ['shop/cart', 'shop/web', 'pay/ledger', 'pay/gateway', 'tools/backup'];
const idOf = (index: number): string => `sha256:${String(index).padStart(64, '0')}`;

function verdictOf(index: number) {
  const image = images[index % images.length] ?? '';
  const isDenied = index % 7 === 2;
  const reference = `registry.example.com/${image}:1.${index % 9}`;
  const reasons = {
    counted: !isDenied,
    text: `rule policy.yaml:4 matches ${reference}`,
    children: [
      {
        counted: !isDenied,
        text: isDenied ? 'no signature of the release key' : 'signed by the release key',
        code: isDenied ? 'TRUST_REQUIREMENT_UNMET' : 'TRUST_SIGNATURE_VALID',
        children: [
          {
            counted: !isDenied,
            text: isDenied
              ? 'a signature of another key was found as the tag sha256-….sig'
              : 'a signature was found among the referrers',
          },
        ],
      },
      {
        counted: true,
        text: 'its provenance names https://github.com/example/shop',
        code: 'TRUST_REQUIREMENT_MET',
      },
    ],
  };
  const json = JSON.stringify({
    ...{ manifestDigest: idOf(500 + index), platform: { os: 'linux', architecture: 'amd64' } },
    ...{ unverified: false, reasons, ceilings: [{ rule: 'policy.yaml:4', ceiling: 'restricted' }] },
  });
  return { image, isDenied, reference, json };
}

async function fill(data: string): Promise<void> {
  const store = await openFleetStore(data);
  for (const [number, name] of ['edge-1', 'edge-2', 'edge-3'].entries()) {
    const rows = Array.from({ length: 200 }, (_, index) => {
      const { image, isDenied, reference, json } = verdictOf(index);
      return {
        ...{ seq: index + 1, entry: '{}', evidence: '', hash: '0'.repeat(64) },
        verdict: {
          ...{
            id: idOf(index),
            time: time - index * 61_000 - number * 17_000,
            reference,
            digest: idOf(500 + index),
          },
          ...{
            outcome: isDenied ? 'deny' : 'admit',
            namespace: image.split('/')[0] ?? '',
            revision: idOf(7),
          },
          text: { json, codes: [] },
        },
      };
    });
    const before = await store.node(name);
    await store.keep({
      node: { ...before, seq: rows.length, hash: '0'.repeat(64), seen: time },
      rows,
      problems: [],
    });
  }
  await store.close();
}

try {
  const data = join(folder, 'data');
  await fill(data);
  await buildConsole(join(folder, 'console'));
  const service = await startFleetService({
    ...{ listen: '127.0.0.1:0', data, console: join(folder, 'console'), keepDays: 400, keepBytes: 2 ** 30 },
    clock: () => time,
  });
  const browser = await launch({
    executablePath: findChromium() ?? '',
    userDataDir: join(folder, 'profile'),
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars'],
  });
  const page = await browser.newPage();
  await page.setViewport({ width: 1100, height: 560 });
  // The list in the light theme, one verdict in the dark theme: docs/fleet.md shows these two.
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'light' }]);
  await page.goto(`${service.url}/#/verdicts`);
  await page.waitForSelector('#row-2');
  await page.waitForFunction("document.getElementById('status').textContent !== ''");
  await page.screenshot({ path: join(docs, 'console-verdicts-light.png') });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
  await page.click('#row-6');
  await page.waitForSelector('.tree li');
  await page.screenshot({ path: join(docs, 'console-verdict-dark.png') });
  await browser.close();
  await service.close();
} finally {
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
