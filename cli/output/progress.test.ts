import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createBarProgress, createProgress } from './progress.ts';
import type { Advance } from './progress-bar.ts';

function started(format: 'text' | 'json'): {
  readonly lines: string[];
  readonly at: (ms: number, bytes: number, note?: string) => void;
  readonly end: () => void;
} {
  const lines: string[] = [];
  let time = 5;
  const progress = createProgress(
    format,
    'pushed',
    (line) => lines.push(line),
    () => time,
  );
  return {
    lines,
    at(ms, bytes, note) {
      time = 5 + ms;
      progress.report({ bytes, totalBytes: 4_000_000 }, note);
    },
    end: () => progress.end(),
  };
}

test('a line has the bytes, the rate and the time left, and at most one line a second is written', () => {
  const { lines, at } = started('text');
  for (let ms = 0; ms <= 2000; ms += 10) at(ms, ms * 1000);
  assert.deepEqual(lines, [
    'pushed 1.0 MB of 4.0 MB, 1.0 MB/s, 3 s left\n',
    'pushed 2.0 MB of 4.0 MB, 1.0 MB/s, 2 s left\n',
  ]);
});

test('nothing is written for what is done within a second', () => {
  const { lines, at, end } = started('text');
  at(999, 4_000_000);
  end();
  assert.deepEqual(lines, []);
});

test('the last line has the state at the end', () => {
  const { lines, at, end } = started('text');
  at(1000, 0, 'app.tar');
  at(1999, 4_000_000, 'app.tar');
  end();
  const last = 'pushed 4.0 MB of 4.0 MB, 2.0 MB/s, 0 s left\n';
  assert.deepEqual(lines, ['pushed 0 B of 4.0 MB (app.tar)\n', last]);
  at(3000, 4_000_000);
  end();
  assert.equal(lines.length, 3, 'the end does not repeat a line');
});

test('a name cannot control the terminal or forge a line', () => {
  const { lines, at } = started('text');
  at(1000, 0, 'a\u001b]0;owned\u0007\nb');
  assert.deepEqual(lines, ['pushed 0 B of 4.0 MB (a?]0;owned??b)\n']);
});

test('with the output format json, each line is one JSON object', () => {
  const { lines, at } = started('json');
  at(2000, 1_000_000, 'a\nb');
  assert.deepEqual(
    lines.map((line) => JSON.parse(line) as unknown),
    [
      {
        event: 'progress',
        done: 'pushed',
        bytes: 1_000_000,
        totalBytes: 4_000_000,
        bytesPerSecond: 500_000,
        secondsLeft: 6,
        note: 'a\nb',
      },
    ],
  );
  assert.match(lines[0] ?? '', /^[^\n]*\n$/u);
});

test('a bar is drawn when a command takes longer, and at most ten times a second', () => {
  let time = 0;
  const drawn: Advance[] = [];
  const report = createBarProgress({ draw: (advance) => drawn.push(advance) }, () => time);
  for (; time <= 1000; time += 10) report({ bytes: time * 1000, totalBytes: 2_000_000 });
  assert.equal(drawn.length, 8);
  assert.deepEqual(drawn[0], {
    bytes: 300_000,
    totalBytes: 2_000_000,
    rate: 1_000_000,
    secondsLeft: 1.7,
    note: undefined,
  });
});
