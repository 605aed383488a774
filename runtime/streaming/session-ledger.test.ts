import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createLogger } from '../../base/log/index.ts';
import type { ForwardPlan } from './plan.ts';
import { createSessionLedger } from './session-ledger.ts';
import type { SessionLedger } from './session-ledger.ts';

const plan: ForwardPlan = { kind: 'portforward', sandbox: 's', ports: [80] };
const how = { protocol: 'p', outcome: 'closed', ms: 1 };
const ledgerOf = (maxSessions: number): SessionLedger =>
  createSessionLedger({ maxSessions, maxSessionsPerContainer: 2 }, createLogger({ level: 'silent' }));

describe('the ledger of sessions', () => {
  it('counts a session from the creation of its URL to its end', () => {
    const ledger = ledgerOf(1);
    const sessions = ledger.ofWorker();
    const token = ledger.mint('a', plan);
    assert.throws(() => ledger.mint('b', plan), { code: 'RUNTIME_STREAMING_LIMIT' });
    assert.deepEqual(sessions.take({ type: 'take', id: 7, kind: 'portforward', token }), {
      type: 'taken',
      id: 7,
      plan,
    });
    assert.throws(() => ledger.mint('b', plan), /1 sessions are open/);
    sessions.ended({ type: 'ended', id: 7, how });
    assert.equal(ledger.isEmpty(), true);
    assert.notEqual(ledger.mint('b', plan), '');
  });

  it('has a separate limit for each container', () => {
    const ledger = ledgerOf(10);
    for (let count = 0; count < 2; count += 1) ledger.mint('a', plan);
    assert.throws(() => ledger.mint('a', plan), /it has 2 sessions open or URLs not yet used/);
    assert.notEqual(ledger.mint('b', plan), '');
  });

  it('does not accept a token again after a request of another kind', () => {
    const ledger = ledgerOf(1);
    const sessions = ledger.ofWorker();
    const token = ledger.mint('a', plan);
    assert.equal(sessions.take({ type: 'take', id: 1, kind: 'exec', token }).type, 'refused');
    assert.equal(sessions.take({ type: 'take', id: 2, kind: 'portforward', token }).type, 'refused');
    assert.equal(ledger.isEmpty(), true);
  });

  it('ends the sessions of a Worker with the Worker', () => {
    const ledger = ledgerOf(1);
    const sessions = ledger.ofWorker();
    sessions.take({ type: 'take', id: 1, kind: 'portforward', token: ledger.mint('a', plan) });
    assert.equal(ledger.isEmpty(), false);
    sessions.drop();
    assert.equal(ledger.isEmpty(), true);
  });
});
