import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PortcullisError } from '../../base/errors/index.ts';
import { wrap } from '../output/terminal.ts';
import type { Paper } from '../output/terminal.ts';
import { createStepReport } from './step-report.ts';

function reported(paper: Partial<Paper> = {}) {
  let text = '';
  let now = 0;
  const report = createStepReport(
    { write: (part) => void (text += part), live: false, colour: false, unicode: true, width: 60, ...paper },
    () => (now += 5),
  );
  return { story: report, text: () => text };
}

describe('the story', () => {
  it('shows a step with its mark, its time at the right margin, and what it found below', async () => {
    const { story: report, text } = reported();
    const value = await report.step(
      'push an image',
      () => 7,
      (found) => [`${found} layers`, 'one manifest'],
    );
    assert.equal(value, 7);
    assert.equal(text(), `  ✓ push an image${' '.repeat(36)}5.0 ms\n      7 layers\n      one manifest\n`);
    assert.equal(report.close(), true);
    assert.match(text(), /✓ all 1 steps succeeded in 0\.0 s/);
  });

  it('shows why a step failed and what to do, rethrows the error, and reports failure at the end', async () => {
    const { story: report, text } = reported();
    const failure = new PortcullisError({
      code: 'X_Y',
      kind: 'internal',
      attempted: 'do',
      on: 'it',
      why: 'it is raining',
      fix: 'wait',
    });
    await assert.rejects(
      report.step('go out', () => {
        throw failure;
      }),
      failure,
    );
    assert.match(text(), /✗ go out +5\.0 ms\n {6}it is raining\n {6}wait\n {6}\[X_Y\]\n/);
    assert.equal(report.close(), false);
    assert.match(text(), /✗ 1 of 1 steps failed/);
  });

  it('shortens digests', async () => {
    const { story: report, text } = reported();
    await report.step(
      'look',
      () => undefined,
      () => `sha256:${'0123456789abcdef'.repeat(4)}`,
    );
    assert.match(text(), /sha256:0123456789ab…\n/);
  });

  it('shows a running step on a terminal, and paints nothing without colour', async () => {
    const { story: report, text } = reported({ live: true });
    await report.step('work', () => undefined);
    assert.ok(text().startsWith('\r\u001b[2K  … work\r\u001b[2K  ✓ work'));
    assert.ok(!text().includes('\u001b[3'));
  });

  it('keeps to ASCII where the locale has nothing else', async () => {
    const { story: report, text } = reported({ unicode: false });
    await report.step('work', () => undefined);
    assert.match(text(), /^ {2}ok work/);
  });

  it('breaks long lines at blanks, and continues them deeper', () => {
    assert.deepEqual(wrap('  - one two three four', 12), ['  - one two', '      three', '      four']);
    assert.deepEqual(wrap('unbreakable-and-long', 5), ['unbreakable-and-long']);
    assert.deepEqual(wrap('', 5), ['']);
  });

  it('prints nothing of steps that end after an interrupt', async () => {
    const { story: report, text } = reported();
    await report.step('start', () => {
      report.interrupt('interrupted');
    });
    await assert.rejects(report.step('go on', () => Promise.reject(new Error('it is gone'))));
    assert.equal(report.close(), false);
    assert.equal(text(), '\ninterrupted\n');
  });
});
