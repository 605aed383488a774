import { checks } from './mutant.ts';

/** Limits of the cost of a layer. */
export const mutants = checks([
  [
    'runtime/images/unpack/pax.ts',
    'if (most !== undefined && size > most)',
    'if (most === undefined && size > 1e12)',
    'runtime/images/unpack/unpack-limits.test.ts',
  ],
  [
    'runtime/images/unpack/pax.ts',
    'if (attribute.length > maxXattrName)',
    'if (attribute.length > 1e9)',
    'runtime/images/unpack/unpack-limits.test.ts',
  ],
  [
    'runtime/images/unpack/pax.ts',
    'if (nameBytes > maxXattrList)',
    'if (nameBytes > 1e9)',
    'runtime/images/unpack/unpack-limits.test.ts',
  ],
  [
    'runtime/images/unpack/tar-metadata.ts',
    'if (size > most)',
    'if (size > 1e12)',
    'runtime/images/unpack/unpack-limits.test.ts',
  ],
  [
    'runtime/images/unpack/tar-metadata.ts',
    'if (text.length > maxPathLength)',
    'if (text.length > 1e9)',
    'runtime/images/unpack/unpack-limits.test.ts',
  ],
  [
    'runtime/images/unpack/layer-tree.ts',
    'if (parts.some(isTooLong))',
    'if (parts.length > 1e9 && parts.some(isTooLong))',
    'runtime/images/unpack/unpack-limits.test.ts',
  ],
  [
    'runtime/images/unpack/layer-tree.ts',
    'budget.steps(target.length);',
    '',
    'runtime/images/unpack/unpack-limits.test.ts',
  ],
  [
    'runtime/images/unpack/layer-budget.ts',
    'if (used.kept > limits.maxKeptBytes)',
    'if (used.kept > 1e15)',
    'runtime/images/unpack/unpack-limits.test.ts',
  ],
  [
    'runtime/images/unpack/layer-budget.ts',
    'if (used.links > limits.maxPendingLinks)',
    'if (used.links > 1e15)',
    'runtime/images/unpack/unpack-limits.test.ts',
  ],
  [
    'runtime/images/unpack/layer-budget.ts',
    'if (used.paths > most)',
    'if (used.paths > 1e15)',
    'runtime/images/unpack/unpack-limits.test.ts',
  ],
  [
    'runtime/images/unpack/layer-folders.ts',
    'budget.folder(join(parent, name));',
    '',
    'runtime/images/unpack/unpack-limits.test.ts',
  ],
  [
    'runtime/images/unpack/copy-up.ts',
    'budget.content(stats.size, from.path);',
    '',
    'runtime/images/unpack/unpack-limits.test.ts',
  ],
  [
    'runtime/images/unpack/work-clock.ts',
    'if (Atomics.load(shared, word.stop) !== 0) throw cancelledError(on);',
    '',
    'runtime/images/layer-workers/layer-pool.test.ts',
  ],
  [
    'runtime/images/layer-workers/layer-workers.ts',
    'else again(job);',
    "else job.settle.reject(lost(new Error('gone')));",
    'runtime/images/layer-workers/layer-pool.test.ts',
  ],
  [
    'runtime/images/layer-workers/layer-jobs.ts',
    'if (!job.hasLowers && waitingEntries(members) > maxWaitingEntries) {',
    'if (waitingEntries(members) > 1e15) {',
    'runtime/images/layer-workers/layer-pool.test.ts',
  ],
  [
    'runtime/images/unpack/lower-layers.ts',
    'view.known.set(name, found);',
    '',
    'runtime/images/unpack/lower-layers.test.ts',
  ],
]);
