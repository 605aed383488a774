import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { after, afterEach, before } from 'node:test';
import { findRegistry, startRegistry } from '../../test/fixtures/registry.ts';
import type { TestRegistry } from '../../test/fixtures/registry.ts';
import { openKit } from './test-kit.ts';
import type { Kit } from './test-kit.ts';

/** Why tests that need a registry are skipped. False: they run. */
export const skip = findRegistry() === undefined ? 'no docker-registry' : false;

export interface StoreForTests {
  readonly opened: (kit: Kit, registry: TestRegistry) => void;
  /** Returns the store that is open now: a test may close one and open the next. */
  readonly current: () => Kit;
  /** Folders of the store that must be empty after each test, when its images are removed. */
  readonly empty?: readonly string[];
  /** Also removes what no record claims after each test. */
  readonly reconciles?: boolean;
}

/**
 * Opens a store beside a registry of its own before the tests of a file, and closes both after them. Every
 * test ends with an empty store: no pull leaves anything behind.
 */
export function openStoreForTests({ opened, current, empty = [], reconciles = false }: StoreForTests): void {
  if (skip !== false) return;
  let registry: TestRegistry;
  before(async () => {
    registry = await startRegistry();
    opened(await openKit(registry.host), registry);
  });
  after(async () => {
    await current().close();
    await registry.close();
  });
  afterEach(async () => {
    const kit = current();
    if (reconciles) await kit.store.reconcile(new Set());
    for (const image of kit.store.list()) await kit.store.remove(image.id);
    assert.deepEqual(contentOf(kit, empty), []);
  });
}

/** Returns what these folders of the store contain, as `FOLDER/NAME`. */
export const contentOf = ({ root }: Kit, folders: readonly string[]): string[] =>
  folders.flatMap((name) => readdirSync(`${root}/${name}`).map((file) => `${name}/${file}`));
