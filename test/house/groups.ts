/** The groups of test files that `npm test` runs, by their patterns. */
export const testGroups = {
  /** Tests beside the code that they test. */
  besideTheCode: [
    'base',
    'trust',
    'entitlements',
    'cni-plugins',
    'fleet',
    'admission',
    'runtime',
    'node',
    'cli',
    'packaging',
    'test/simulation',
    'test/specification',
    'test/base-sets',
    'test/endurance',
    'test/fleet',
    'test/fuzz',
    'test/proof',
    'test/programs',
    'test/house',
    'test/fixtures',
    'test/mutants',
    'test/node-conformance',
    'test/policy-conformance',
    'test/containerd-integration',
    'test/trust-requests',
    'site',
  ],
  /**
   * Tests of several modules together. They have their own namespaces, folders and cgroups. The folders of
   * long tests are first: a long test at the end would run alone.
   */
  acrossModules: [
    'test/chaos',
    'test/pipeline',
    'test/overlay',
    'test/exhaustion',
    'test/e2e',
    'test/cve',
    'test/interop',
  ],
  /** These tests observe everything outside their own pods, and other tests change that. */
  byThemselves: ['test/tenant'],
} as const;

/** Folders whose tests have their own script in package.json, which docs/test-suites.md describes. */
export const ownScripts: Readonly<Record<string, string>> = {
  'test/cnm': 'test:cnm',
  'test/handlers': 'test:handlers',
  'test/lazy': 'test:lazy',
  'test/node': 'test:node',
};

/** Returns the pattern of the test files of a folder. */
export const testsIn = (folder: string): string => `${folder}/**/*.test.ts`;
