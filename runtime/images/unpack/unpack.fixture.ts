import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach } from 'node:test';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { defaultLimits } from '../limits/limits.ts';
import type { ImageLimits } from '../limits/limits.ts';
import { sha256 } from '../test-kit.ts';
import { unpackLayer } from './unpack-layer.ts';
import type { UnpackRequest, UnpackedLayer } from './unpack-layer.ts';
import { createJobCell, createWorkClock } from './work-clock.ts';

/** A folder in memory for the layers of one test, removed when the test ends. */
export interface LayerFolder {
  /** Returns a path in it that no other call of the test has received. */
  newPath(): string;
  /** Writes the archive, and returns a request to unpack it beside itself. */
  requestOf(
    tar: Buffer,
    options?: { readonly lowest?: boolean; readonly limits?: Partial<ImageLimits> },
  ): UnpackRequest;
}

/** Creates such a folder for each test of the file that calls this. */
export function layerFolderOfEachTest(name: string): LayerFolder {
  let [folder, count] = ['', 0];
  const newPath = (): string => `${folder}/${count++}`;
  beforeEach(() => {
    folder = mkdtempSync(`/dev/shm/portcullis-${name}-`);
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });
  return {
    newPath,
    requestOf(tar, { lowest = false, limits = {} } = {}) {
      const path = newPath();
      writeFileSync(`${path}.tar`, tar);
      return {
        blob: `${path}.tar`,
        staging: `${path}.layer`,
        diffId: sha256(tar),
        lowest,
        limits: { ...defaultLimits, ...limits },
      };
    },
  };
}

/** Unpacks in this thread, so that nothing else is measured or refused. */
export function unpackHere(request: UnpackRequest, lowers: readonly string[] = []): Promise<UnpackedLayer> {
  const clock = createWorkClock(createJobCell(), request.diffId);
  return unpackLayer(request, () => Promise.resolve(lowers), clock, new AbortController().signal);
}

/** For `assert.rejects`: matches a PortcullisError with this code. */
export function codeIs(code: string): (thrown: unknown) => boolean {
  return (thrown) => {
    assert.ok(isPortcullisError(thrown), String(thrown));
    assert.equal(thrown.code, code, thrown.message);
    return true;
  };
}

export const range = <T>(n: number, make: (index: number) => T): T[] =>
  Array.from({ length: n }, (_, index) => make(index));
