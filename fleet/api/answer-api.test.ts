import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { temporaryFolder } from '../fleet.fixture.ts';
import { openFleetStore } from '../store/store.ts';
import { answerApi } from './answer-api.ts';

test('a time that is none is refused, and is not a time without verdicts', async (t) => {
  const store = await openFleetStore(await temporaryFolder(t));
  t.after(() => store.close());
  const ask = (time: string): Promise<object | undefined> =>
    answerApi(store.database, '/v1/verdicts', new URLSearchParams({ since: time, until: time }), 0);
  for (const time of ['2026-01-31', '2026-12-01T23:59Z', '2026-12-01T23:59:59.123Z'])
    assert.deepEqual(await ask(time), { verdicts: [] });
  for (const time of ['2026-13-01', '2026-00-10', '2026-01-32', '2026-01-01T24:30Z', '2026-01-01T10:60Z'])
    await assert.rejects(
      ask(time),
      (thrown) => isPortcullisError(thrown) && thrown.code === 'FLEET_BAD_REQUEST',
      time,
    );
});
