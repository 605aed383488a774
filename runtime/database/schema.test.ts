import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import manifest from '../../package.json' with { type: 'json' };
import { verdictLogMigrations } from '../../trust/verdict-log/index.ts';
import { imageMigrations } from '../images/index.ts';
import { heartbeatSchema } from '../observability/heartbeat.ts';
import { recordsSchema } from '../state/records.ts';
import { stateMigrations } from './schema.ts';

/**
 * sha256 of each released step, in order. Append the digest of a new step. Never change, move or remove one,
 * because databases have applied these steps.
 */
const released = [
  'd69d78aaadb7d4dd87e02238e30a3d951149460c2fa87f92ff6afefab521fa20',
  'a9fcbea33670aa80a6fae5c0f770e4e92a741ee18db041ebc7d38a029cfcbc14',
  '70e747c8863d5a38fa6c70034f97f01b669bfd87160408a4ad56574069272075',
  'b37f0951b34ba6845b1d13a3815e376dc4062d1fe6e3511fc70d7aab43a160dd',
  '19542dd7f2499ba76a65e7bcd762026fcc605106d401377fb3db5d37e8e8c8be',
  'b4a520285a2871e6d854196607062735d15409da970d92388c07ea6ec677b724',
];

describe('the steps of the schema of state.db', () => {
  it('are the released steps, without new steps before or between them', () => {
    const digests = stateMigrations.map(({ sql }) => createHash('sha256').update(sql).digest('hex'));
    assert.deepEqual(digests, released);
  });

  it('are as many as in the first release of this minor version, so that the previous release can be used again (docs/decisions/0074)', () => {
    const stepsOf: Readonly<Record<string, number>> = { '0.1': 6 };
    assert.equal(
      stepsOf[manifest.version.split('.').slice(0, 2).join('.')],
      stateMigrations.length,
      'raise the minor version first',
    );
  });

  it('are numbered by their position', () => {
    assert.deepEqual(
      stateMigrations.map(({ version }) => version),
      stateMigrations.map((_, index) => index + 1),
    );
  });

  it('contain all steps of each room, in the order of the room', () => {
    const listed = stateMigrations.map(({ sql }) => sql);
    for (const steps of [[recordsSchema], verdictLogMigrations, imageMigrations, [heartbeatSchema]])
      assert.deepEqual(
        listed.filter((sql) => steps.some((step) => step === sql)),
        [...steps],
      );
  });
});
