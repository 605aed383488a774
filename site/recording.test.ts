import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawTerminal, shownLines } from './recording.ts';

test('shows the last text of a line that is written several times, in its colours', () => {
  const [line] = shownLines(
    '  \u001b[33m…\u001b[0m Pull\r\u001b[2K  \u001b[32m✓\u001b[0m Pull \u001b[2m3 ms\u001b[0m',
  );
  assert.deepEqual(
    line?.map(({ text, colour }) => [text, colour]),
    [
      ['  ', '#d6deeb'],
      ['✓', '#7ee787'],
      [' Pull ', '#d6deeb'],
      ['3 ms', '#8796a8'],
    ],
  );
});

test('a style continues on the next line until it is reset', () => {
  const lines = shownLines('\u001b[1mChapter\nstill bold\u001b[0m plain');
  assert.deepEqual(
    lines.flat().map(({ bold }) => bold),
    [true, true, false],
  );
});

test('the text of a command cannot become markup', () => {
  const svg = drawTerminal('echo "<b>"', shownLines('<script>&'));
  assert.ok(svg.includes('&lt;script&gt;&amp;') && svg.includes('aria-label="echo &quot;&lt;b&gt;&quot;"'));
  assert.ok(!svg.includes('<script>'));
});
