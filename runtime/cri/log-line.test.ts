import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseLogLine } from './log-line.ts';

const time = '2026-11-20T08:00:00.123456789Z';
const rows: readonly { readonly line: string; readonly entry: readonly [string, string, boolean, string] }[] =
  [
    { line: `${time} stdout F hello`, entry: [time, 'stdout', false, 'hello'] },
    { line: `${time} stderr P half`, entry: [time, 'stderr', true, 'half'] },
    { line: `${time} stdout F `, entry: [time, 'stdout', false, ''] },
    { line: `${time} stdout F`, entry: [time, 'stdout', false, ''] },
    { line: `${time} stdout F  two blanks`, entry: [time, 'stdout', false, ' two blanks'] },
    { line: `${time} stdout P:tag1:tag2 tagged`, entry: [time, 'stdout', true, 'tagged'] },
    {
      line: '2026-11-20T08:00:00.1+00:00 stdout F conmon',
      entry: ['2026-11-20T08:00:00.1+00:00', 'stdout', false, 'conmon'],
    },
    {
      line: '2026-11-20T08:00:00+05:30 stderr F whole second',
      entry: ['2026-11-20T08:00:00+05:30', 'stderr', false, 'whole second'],
    },
    { line: 'not in the format', entry: ['', 'stdout', false, 'not in the format'] },
    { line: `${time} stdin F x`, entry: ['', 'stdout', false, `${time} stdin F x`] },
    { line: `${time} stdout X x`, entry: ['', 'stdout', false, `${time} stdout X x`] },
    { line: '', entry: ['', 'stdout', false, ''] },
  ];
for (const { line, entry } of rows) {
  test(`log line "${line}"`, () => {
    const { time: at, stream, partial, content } = parseLogLine(Buffer.from(line));
    assert.deepEqual([at, stream, partial, content.toString()], entry);
  });
}

test('content is bytes, and bytes that are not UTF-8 are not changed', () => {
  const bytes = Buffer.from([0xff, 0x00, 0xc3]);
  assert.deepEqual(parseLogLine(Buffer.concat([Buffer.from(`${time} stdout P `), bytes])).content, bytes);
});
