import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openRegistries } from '../registries/registry-access.ts';
import { readMetadata } from '../tuf-metadata/read.ts';
import { openOwner } from './owner.ts';
import type { Owner } from './owner.types.ts';
import type { Published } from './session.ts';

const day = 86_400;
const now = new Date('2026-12-01T00:00:00Z');
const publish = (owner: Owner, expiry = {}): Promise<Published> =>
  owner.publish({ to: [], countersign: false, expiry });

/** Runs `body` with a published collection, and a function that opens its owner at a time. */
async function withPlace(
  begun: Date,
  body: (at: (now: Date) => Promise<Owner>, daysLeft: () => number) => Promise<void>,
): Promise<void> {
  const home = mkdtempSync(join(tmpdir(), 'tuf-lifetime-'));
  const place = join(home, 'place');
  const registries = await openRegistries({ mirrors: [], insecureHosts: [] });
  const owners: Owner[] = [];
  const at = async (time: Date): Promise<Owner> => {
    const owner = await openOwner({
      ...{ folder: join(home, 'keys'), name: 'registry.example.com/pay/app', registries, now: time },
      ...{ passphrase: { environment: { PORTCULLIS_PASSPHRASE: 'words' } }, signers: [] },
    });
    owners.push(owner);
    return owner;
  };
  const daysLeft = (): number => {
    const { signed } = readMetadata('tuf', 'timestamp', readFileSync(join(place, 'timestamp.json')));
    return (signed.expires - now.getTime()) / (day * 1000);
  };
  try {
    const owner = await at(begun);
    await owner.init({ dialects: ['tuf'], destinations: [place], keys: {}, expiry: {}, localKeys: true });
    await publish(owner);
    await body(at, daysLeft);
  } finally {
    for (const owner of owners) await owner.close();
    await registries.close();
    rmSync(home, { recursive: true });
  }
}

test('a timestamp from a clock that was years ahead is replaced by the next publish', () =>
  withPlace(new Date('2030-12-01T00:00:00Z'), async (at, daysLeft) => {
    const { signed } = await publish(await at(now));
    assert.deepEqual(signed.map(({ role }) => role).sort(), ['snapshot', 'timestamp']);
    assert.equal(daysLeft(), 14);
  }));

test('a shorter lifetime of timestamps applies from the publish that sets it', () =>
  withPlace(now, async (at, daysLeft) => {
    await publish(await at(now), { timestamp: day });
    assert.equal(daysLeft(), 1);
    assert.deepEqual((await publish(await at(now))).signed, []);
  }));

test('a publish with a clock that is years behind reports that files expire sooner than before', () =>
  withPlace(now, async (at) => {
    assert.deepEqual((await publish(await at(now))).sooner, []);
    const { sooner } = await publish(await at(new Date('2023-12-01T00:00:00Z')));
    assert.deepEqual(
      sooner.filter(({ role }) => role === 'timestamp'),
      [
        {
          ...{ dialect: 'tuf', role: 'timestamp' },
          expires: '2023-12-15T00:00:00.000Z',
          before: '2026-12-15T00:00:00.000Z',
        },
      ],
    );
    assert.deepEqual((await publish(await at(now))).sooner, [], 'the next publish with the right clock');
  }));
