import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { webhookMetrics } from '../../admission/service/catalogue.ts';

test('docs/webhook.md lists each metric of the webhook', () => {
  const document = readFileSync(new URL('../../docs/webhook.md', import.meta.url), 'utf8');
  const rows = (document.split('<!-- metrics -->')[1] ?? '')
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  assert.deepEqual(
    rows,
    Object.values(webhookMetrics).map(({ name, type, labels, help }) => [
      ...[`\`${name}\``, type, labels.map((label) => `\`${label}\``).join(', '), help],
    ]),
  );
});
