import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PortcullisError } from '../../base/errors/index.ts';
import { blamePlugins, nothingBeyond } from './adjusted.ts';

test('the error of an adjusted request does not contain control characters of a key', () => {
  const refused = new PortcullisError({
    code: 'RUNTIME_BAD_MOUNT',
    kind: 'invalid',
    attempted: 'create container',
    on: 'c',
    why: 'the path is not allowed',
    fix: 'choose another path',
  });
  const one = { plugin: '10-p', field: 'mount', key: '/a\u001b[2J\n', action: 'set' } as const;
  const { message } = blamePlugins(refused, { adjustments: [one], beyond: nothingBeyond }) as Error;
  assert.match(message, /10-p set mount "\/a\\u001b\[2J\\n"/);
});
