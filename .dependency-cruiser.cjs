// The walls of the house (docs/architecture.md). test/house/walls.test.ts plants one violation of each rule and expects it to be found.
const rooms = 'base|trust|entitlements|cni-plugins|runtime|cli';
const fixtures = '/fixtures/|\\.fixture\\.ts$';
const inside = '^(base/[^/]+|trust|entitlements|cni-plugins|runtime)/';

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'base-knows-no-room',
      comment: 'base knows no word of the domain: it may be used by anyone and uses no room.',
      severity: 'error',
      from: { path: '^base/' },
      to: { path: '^(trust|entitlements|cni-plugins|runtime|cli|packaging|bench)/' },
    },
    {
      name: 'leaves-use-base-only',
      comment: 'trust, entitlements and cni-plugins do not know each other, nor who uses them: each is a library of its own.',
      severity: 'error',
      from: { path: '^(trust|entitlements|cni-plugins)/' },
      to: { path: `^(${rooms}|packaging|bench)/`, pathNot: ['^base/', '^$1/'] },
    },
    {
      name: 'runtime-is-not-a-client',
      comment: 'runtime is used by cli, never the other way round.',
      severity: 'error',
      from: { path: '^runtime/' },
      to: { path: '^(cli|packaging|bench)/' },
    },
    {
      name: 'only-by-the-door',
      comment:
        "A room, and each folder of base, is entered by its index.ts only; runtime has a second door, which loads fast. Types alone may come from a leaf's types.ts through that door too. Benches measure insides.",
      severity: 'error',
      from: { path: '^(base/[^/]+|trust|entitlements|cni-plugins|runtime|cli|packaging)/' },
      to: {
        path: inside,
        pathNot: ['^$1/', '^(base/[^/]+|trust|entitlements|cni-plugins|runtime)/index\\.ts$', '^runtime/launch\\.ts$', fixtures],
      },
    },
    {
      name: 'nobody-imports-cli',
      comment: 'cli is the outermost room.',
      severity: 'error',
      from: { path: '^(bench|packaging)/' },
      to: { path: '^cli/' },
    },
    {
      name: 'no-test-code-in-the-product',
      comment: 'Only tests, their fixtures and benches may use what stands in test/ and fixtures.',
      severity: 'error',
      from: { path: `^(${rooms}|packaging)/`, pathNot: ['\\.test\\.ts$', fixtures] },
      to: { path: `^test/|\\.test\\.ts$|${fixtures}` },
    },
    {
      name: 'no-cycles',
      comment: 'Two modules that need each other are one, or have a third in them: types count as well.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    { name: 'no-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'no-dev-packages-in-the-product',
      comment: 'What ships may only use packages that ship.',
      severity: 'error',
      from: { path: `^(${rooms})/`, pathNot: ['\\.test\\.ts$', fixtures] },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-only'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(dist|coverage|node_modules/\\.|site/(dist|vitepress)/)' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
      extensions: ['.ts', '.js', '.json'],
    },
  },
};
