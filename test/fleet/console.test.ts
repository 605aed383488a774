import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import type { Browser } from 'puppeteer-core';
import {
  access,
  goodState,
  post,
  requestOf,
  rowRecord,
  sourceOf,
  startFleet,
  tokens,
} from '../../fleet/fleet.fixture.ts';
import { eventNames } from '../../fleet/records/record-names.ts';
import { fleetMigrations } from '../../fleet/store/schema.ts';
import { openFleetStore } from '../../fleet/store/store.ts';
import { openDatabase } from '../../base/storage/index.ts';
import { buildConsole } from '../../packaging/console.ts';
import { findChromium } from '../../site/screenshots.ts';
import { policyRevision } from '../../trust/policy/index.ts';
import { openKit } from '../../trust/verdict-log/log.fixture.ts';
import { hostile, launchChromium, openConsole, textOf, violations, visit } from './console.fixture.ts';

const chromium = findChromium();
const skip = chromium === undefined ? 'no chromium: apt-get install chromium' : false;

describe('the console', { skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-console-'));
  let browser: Browser;
  before(async () => {
    await buildConsole(join(folder, 'console'));
    browser = await launchChromium(chromium ?? '', join(folder, 'profile'));
  });
  after(async () => {
    await browser.close();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  });

  const open = (t: TestContext, verdicts: number) => openConsole(t, browser, folder, verdicts);

  it('shows verdicts, reasons, nodes and images, works by keyboard, and meets WCAG AA in both themes', async (t) => {
    const { page, problems } = await open(t, 30);
    await page.waitForFunction("document.getElementById('status').textContent === '30 verdicts'");
    assert.deepEqual(await violations(page), []);
    await page.focus('.grid');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('End');
    await page.keyboard.press('Home');
    await page.keyboard.press('ArrowDown');
    assert.equal(
      await page.$eval('.grid', (grid) =>
        (grid as unknown as { getAttribute(name: string): string }).getAttribute('aria-activedescendant'),
      ),
      'row-1',
    );
    await page.keyboard.press('Enter');
    await page.waitForSelector('.tree li');
    assert.match(await textOf(page, 'h1'), /^Verdict on /);
    assert.deepEqual(await violations(page), []);
    for (const [view, heading] of [
      ['nodes', 'Nodes'],
      ['node/a', 'a'],
      ['images', 'Images that run'],
      ['policies', 'Policies'],
      ['alerts', 'Alerts'],
    ] as const) {
      await visit(page, view, heading);
      assert.deepEqual(await violations(page), [], view);
    }
    await visit(page, 'images', 'Images');
    assert.ok((await textOf(page, 'main')).includes(hostile));
    // From an image to the containers that run from it, by the keyboard.
    await page.focus('td a');
    await page.keyboard.press('Enter');
    await page.waitForFunction("document.querySelector('h1')?.textContent.startsWith('Image ')");
    assert.ok((await textOf(page, 'main')).includes(`apay/web-1/${hostile}`), await textOf(page, 'main'));
    assert.deepEqual(await violations(page), []);
    assert.equal(await page.evaluate('window.hacked'), undefined);
    await visit(page, 'node/nobody', 'Not available');
    await visit(page, 'images?colour=red', 'Not available');
    assert.match(await textOf(page, 'main'), /answered 400: [^]*unknown field `colour`/);
    assert.deepEqual(
      problems.filter((text) => !/40[04]/.test(text)),
      [],
    );
  });

  it('verifies the log of a node itself, and finds a changed row and a forged checkpoint', async (t) => {
    const { page, data } = await open(t, 30);
    const verify = async (): Promise<string> => {
      await visit(page, 'nodes', 'Nodes');
      await visit(page, 'node/a', 'a');
      await page.waitForSelector('#verify-log');
      await page.click('#verify-log');
      await page.waitForFunction("/erified:/.test(document.querySelector('.result').textContent)");
      return textOf(page, '.result');
    };
    assert.match(await verify(), /^Verified: 31 rows\. The checkpoint of 31 rows has a valid signature/);
    // Someone changes the database of the aggregator.
    const database = await openDatabase({ path: join(data, 'fleet.db'), migrations: fleetMigrations });
    t.after(() => database.close());
    const change = (sql: string) => database.write([{ sql }]);
    await change("UPDATE row SET entry = replace(entry, 'deny', 'admit') WHERE seq = 2");
    assert.match(await verify(), /^Not verified: Row 2 does not follow/);
    await change("UPDATE row SET entry = replace(entry, 'admit', 'deny') WHERE seq = 2");
    await change("UPDATE node SET note = replace(note, 'time 2', 'time 3')");
    assert.match(await verify(), /The signature of the checkpoint is not valid/);
  });

  it('shows rows after the checkpoint, and a first row whose predecessor has expired, as not verifiable', async (t) => {
    const { page, data, kit, service } = await open(t, 30);
    await kit.append(3);
    await post(service.url, requestOf('a', (await sourceOf(kit).rows(31, 10)).map(rowRecord)));
    const database = await openDatabase({ path: join(data, 'fleet.db'), migrations: fleetMigrations });
    t.after(() => database.close());
    await database.write([{ sql: 'DELETE FROM row WHERE seq <= 2' }]);
    await visit(page, 'node/a', 'a');
    await page.waitForSelector('#verify-log');
    await page.click('#verify-log');
    await page.waitForFunction("/erified:/.test(document.querySelector('.result').textContent)");
    const text = await textOf(page, '.result');
    assert.match(text, /^Verified: 28 rows\. .*Not verifiable: 4 rows/u);
  });

  it('pins the key of a log, and continues to verify with it when the aggregator sends another key', async (t) => {
    const { page, data, kit, service, problems } = await open(t, 3);
    const file = readFileSync(join(kit.folder, 'verdict-log.key.pub'));
    const digest = createHash('sha256').update(file).digest('hex');
    const visitNode = async (query = ''): Promise<string> => {
      await visit(page, 'nodes', 'Nodes');
      await visit(page, `node/a${query}`, 'a');
      await page.waitForSelector('#log-key dl');
      return textOf(page, '#log-key');
    };
    const verify = async (): Promise<string> => {
      await page.click('#verify-log');
      await page.waitForFunction("/erified:/.test(document.querySelector('.result').textContent)");
      return textOf(page, '.result');
    };
    const press = async (label: string): Promise<void> => {
      await page.click(`::-p-xpath(//button[text()='${label}'])`);
      await page.waitForFunction(
        `![...document.querySelectorAll('#log-key button')].some((one) => one.textContent === '${label}')`,
      );
    };
    assert.ok((await visitNode()).includes(digest), 'the digest that sha256sum prints on the node');
    assert.match(await verify(), /^Verified: .*Compare it with the key of the node, and pin it\.$/u);
    await press('Pin this key in this browser');
    assert.match(await textOf(page, '#log-key'), /This browser has pinned the key of this node/u);
    assert.match(await verify(), /^Verified: 4 rows\. .* matches the chain\.$/u);
    assert.deepEqual(await violations(page), []);

    // The aggregator replaces the log by one that another key has signed, with rows that are correct.
    const other = await openKit(t);
    await other.append(3);
    await other.log.checkpoint();
    const source = sourceOf(other);
    const note = (await source.checkpoint())?.note ?? '';
    const key = readFileSync(join(other.folder, 'verdict-log.key.pub'), 'utf8').trim();
    const database = await openDatabase({ path: join(data, 'fleet.db'), migrations: fleetMigrations });
    t.after(() => database.close());
    await database.write([
      ...(await source.rows(0, 10)).map(({ seq, entry, evidence, hash }) => ({
        sql: 'UPDATE row SET entry = ?, evidence = ?, hash = ? WHERE seq = ?',
        params: [entry, evidence, hash, seq],
      })),
      { sql: 'UPDATE node SET note = ?, key = ?', params: [note, key] },
    ]);
    const warned = await visitNode();
    assert.match(warned, /This browser has pinned another key/u);
    assert.ok(warned.includes(digest) && warned.includes(key), warned);
    assert.match(await verify(), /^Not verified: .*The signature of the checkpoint is not valid/u);
    assert.deepEqual(await violations(page), []);
    await press('Pin the new key instead');
    assert.match(await verify(), /^Verified: 4 rows/u);

    // A link that names the digest counts without a pin, and against one.
    assert.match(await visitNode(`?key=${digest}`), /differs from the key in the address of this page/u);
    assert.match(
      await verify(),
      /^Not verified: the key differs from the key in the address of this page\.$/u,
    );
    await press('Remove the pin');
    await visitNode(`?key=${createHash('sha256').update(`${key}\n`).digest('hex')}`);
    assert.match(await verify(), /^Verified: 4 rows\. .* matches the chain\.$/u);
    assert.deepEqual(problems, [], service.url);
  });

  it('shows lists page by page, and searches images by a part of the reference', async (t) => {
    const { page, problems, service } = await open(t, 2);
    const running = ['r.example/a:1', 'r.example/b:1', 'r.example/c:1'].map((reference, index) => ({
      ...{ id: `c${index}`, namespace: 'pay', pod: 'web-1', name: `c${index}` },
      ...{ reference, imageId: `sha256:${index}`, verdict: '' },
    }));
    for (const node of ['a', 'b'] as const) {
      const body = JSON.stringify({ ...goodState, running });
      await post(
        service.url,
        requestOf(node, [{ event: eventNames.state, time: 0, attributes: new Map(), body }]),
        { token: tokens[node] },
      );
    }
    const cells = async (): Promise<string> =>
      (await page.evaluate(
        "[...document.querySelectorAll('td:first-child')].map((one) => one.textContent).join()",
      )) as string;
    const follow = async (label: string, expected: string): Promise<void> => {
      await page.click(`::-p-xpath(//a[text()='${label}'])`);
      await page.waitForFunction(
        `[...document.querySelectorAll('td:first-child')].map((one) => one.textContent).join() === '${expected}'`,
      );
    };
    await visit(page, 'nodes?most=1', 'Nodes');
    assert.equal(await textOf(page, 'caption'), 'The first 1 node');
    assert.equal(await cells(), 'a');
    assert.deepEqual(await violations(page), []);
    await follow('Next page', 'b');
    assert.equal(await textOf(page, 'caption'), 'The last 1 node');
    await follow('First page', 'a');

    await visit(page, 'images?most=1', 'Images');
    assert.equal(await cells(), 'r.example/a:1');
    await follow('Next page', 'r.example/b:1');
    await follow('Next page', 'r.example/c:1');
    await page.type('#image', 'le/b:');
    await page.keyboard.press('Enter');
    await page.waitForFunction("document.querySelector('caption')?.textContent === '1 image'");
    assert.equal(await cells(), 'r.example/b:1');
    assert.deepEqual(await violations(page), []);

    await visit(page, `image/${encodeURIComponent('r.example/b:1')}?most=1`, 'Image r.example/b:1');
    assert.equal(await cells(), 'a');
    await follow('Next page', 'b');
    assert.deepEqual(problems, []);
  });

  it('shows a node, and its log, in a browser that stores nothing for the page', async (t) => {
    const { page, problems } = await open(t, 3);
    await page.evaluate(
      "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError'); } })",
    );
    await visit(page, 'node/a', 'a');
    await page.waitForSelector('#log-key dl');
    await page.click("::-p-xpath(//button[text()='Pin this key in this browser'])");
    assert.match(await textOf(page, '#log-key'), /This browser cannot store the pin: SecurityError: no/u);
    assert.deepEqual(problems, []);
  });

  it('shows policies, the differences between two policies, and the containers that a release would refuse', async (t) => {
    const { page, problems, service } = await open(t, 2);
    const revisions: string[] = [];
    for (const [index, more] of ['', `# ${hostile}`].entries()) {
      const sources = {
        files: [
          { name: 'policy.yaml', text: `kind: TrustPolicy\nrules: [a]\n${more}\n` },
          ...(index === 0 ? [] : [{ name: 'profile.yaml', text: 'kind: EntitlementProfile\n' }]),
        ],
        keys: [{ name: 'build.pub', digest: String(index).repeat(64) }],
      };
      const revision = policyRevision(sources);
      revisions.push(revision);
      const denials = [{ namespace: 'pay', reference: hostile, outcome: 'deny', rule: 'policy.yaml:4' }];
      const state = {
        ...goodState,
        policy: { revision },
        upcoming: { release: 'stable/7', denials, count: 1 },
      };
      const event = (name: string, body: object) => ({
        ...{ event: name, time: 0, attributes: new Map() },
        body: JSON.stringify(body),
      });
      const records = [event(eventNames.policy, { revision, ...sources }), event(eventNames.state, state)];
      await post(service.url, requestOf('a', records));
    }
    await visit(page, 'policies', 'Policies');
    await page.waitForSelector('#from');
    assert.deepEqual(await violations(page), []);
    await page.click('form button');
    await page.waitForFunction("document.querySelector('h1')?.textContent === 'Differences'");
    assert.match(
      (await page.evaluate('location.hash')) as string,
      new RegExp(`/compare/${revisions.join('/')}$`),
    );
    const text = await textOf(page, 'main');
    for (const part of [`+# ${hostile}`, ' rules: [a]', 'profile.yaml (added)', '+kind: EntitlementProfile'])
      assert.ok(text.includes(part), part);
    assert.ok(!text.includes('-rules'), text);
    assert.match(text, /Keys that changed.*build\.pub0{64}1{64}/u);
    assert.deepEqual(await violations(page), []);
    await visit(page, `policy/${revisions[1]}`, 'Policy');
    assert.deepEqual(await violations(page), []);
    await visit(page, `upcoming/${encodeURIComponent('stable/7')}`, 'Release stable/7');
    assert.ok((await textOf(page, 'main')).includes(hostile));
    assert.deepEqual(await violations(page), []);
    await visit(page, 'node/a', 'a');
    assert.match(await textOf(page, 'main'), /release stable\/7: it would refuse 1 running workload/u);
    assert.equal(await page.evaluate('window.hacked'), undefined);
    assert.deepEqual(problems, []);
  });

  it('keeps few rows in the page, however many verdicts there are', async (t) => {
    const { page, problems, data, service } = await open(t, 2);
    await service.close();
    const store = await openFleetStore(data);
    const node = await store.node('a');
    const rows = Array.from({ length: 5000 }, (_, index) => ({
      ...{ seq: node.seq + 1 + index, entry: '{}', evidence: '', hash: '0'.repeat(64) },
      verdict: {
        id: `sha256:${String(index).padStart(64, '0')}`,
        time: index,
        ...{ outcome: index % 2 === 0 ? 'admit' : 'deny', namespace: `ns-${index % 7}`, revision: '' },
        ...{ reference: `registry.example.com/app-${index}:1`, digest: '' },
      },
    }));
    await store.keep({
      node: { ...node, seq: node.seq + rows.length, hash: '0'.repeat(64) },
      rows,
      problems: [],
    });
    await store.close();
    const again = await startFleet(t, { data, access, console: join(folder, 'console') });
    await page.goto('about:blank');
    problems.length = 0;
    await page.goto(`${again.url}/`);
    await page.waitForSelector('#token');
    await page.type('#token', tokens.r);
    await page.keyboard.press('Enter');
    await page.waitForFunction("document.getElementById('status').textContent === '5,002 verdicts'");
    await page.focus('.grid');
    for (let press = 0; press < 8; press += 1) {
      await page.keyboard.press('End');
      await page.waitForFunction("document.querySelector('.grid').getAttribute('aria-busy') === 'false'");
    }
    const inPage = (await page.$$('.rows .row')).length;
    assert.ok(inPage > 10 && inPage < 80, String(inPage));
    await page.type('#image', 'app-4321:');
    await page.waitForFunction("document.getElementById('status').textContent === '1 verdict'");
    assert.equal((await page.$$('.rows .row')).length, 1);
  });
});
