import assert from 'node:assert/strict';
import { it } from 'node:test';
import { access, goodState, post, requestOf, startFleet, tokens } from '../fleet.fixture.ts';
import { eventNames } from '../records/record-names.ts';

it('a node that sends an impossible date does not hide when the root of other nodes expires', async (t) => {
  const { url } = await startFleet(t, { access, clock: () => Date.parse('2026-06-01T00:00:00Z') });
  for (const [node, token, ends] of [
    ['a', tokens.a, '2026-06-05T00:00:00Z'],
    ['b', tokens.b, '2026-13-45T00:00:00Z'],
  ] as const) {
    const state = { ...goodState, roots: [{ name: 'root.json', rule: 'p:1', ends }] };
    const body = JSON.stringify(state);
    await post(url, requestOf(node, [{ event: eventNames.state, time: 0, attributes: new Map(), body }]), {
      token,
    });
  }
  const answer = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${tokens.r}` } });
  assert.match(await answer.text(), /^portcullis_fleet_root_days\{root="root\.json"\} 4$/mu);
});
