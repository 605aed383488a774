// Import rules (docs/architecture.md). test/house/walls.test.ts plants one violation of each rule and expects it to be found.
const modules = 'base|trust|entitlements|cni-plugins|fleet|admission|runtime|node|cli';
const fixtures = '/fixtures/|\\.fixture\\.ts$';
/** Writes manual pages and completions from the commands and the schema of the configuration. */
const describing = '^packaging/(man|artifacts)/';
/** Generates validators from the schemas that modules use inside. */
const generating = '^packaging/validators(\\.test)?\\.ts$';
const inside = '^(base/[^/]+|trust|entitlements|cni-plugins|fleet|admission|runtime|node)/';

/** Each module's layers, from the lowest one up (test/house/layers.json): a folder imports only from layers below its own. */
const layers = require('./test/house/layers.json');

/** The entry points of the modules (test/house/entry-points.json). Each folder of base has one, too. */
const entryPoints = require('./test/house/entry-points.json');
const oneOf = (files) => `(?:${files.join('|').replaceAll('.', '\\.')})$`;
/** Those that are above all layers of their module. runtime/client.ts and runtime/launch.ts are inside a layer. */
const aboveLayers = oneOf(entryPoints.filter((door) => door.endsWith('/index.ts')));
/** The layers of the folders that are not modules. Folders without TypeScript have none. */
const layersOutside = {
  packaging: [
    [
      'packaging/<root>',
      'packaging/archives',
      'packaging/editors',
      'packaging/kubernetes',
      'packaging/man',
      'packaging/systemd',
    ],
    ['packaging/deb', 'packaging/editors/vscode', 'packaging/oci/installer', 'packaging/sbom'],
    ['packaging/artifacts'],
    ['packaging/oci'],
    ['packaging/node-image', 'packaging/release'],
  ],
  site: [['site/reference'], ['site/<root>']],
};
const testCode = '(\\.test|\\.fixture)\\.ts$|/fixtures/';
const filesOf = (folders) => `^(${folders.map((folder) => folder.replace('/<root>', '')).join('|')})/[^/]+$`;
const layerRules = Object.entries({ ...layers, ...layersOutside }).flatMap(([module, ofModule]) =>
  ofModule.map((folders, index) => ({
    name: `layer-${index + 1}-of-${module}`,
    comment:
      'A folder of this layer imports its own files and the layers below it; entry points are above all layers. A new folder gets its place in test/house/layers.json.',
    severity: 'error',
    from: { path: filesOf(folders), pathNot: [testCode, `^${aboveLayers}`] },
    to: { path: `^${module}/.*\\.ts$`, pathNot: ['^$1/[^/]+$', ...ofModule.slice(0, index).map(filesOf)] },
  })),
);

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'base-imports-no-module',
      comment: 'base contains no knowledge of the domain: every module may use it, and it uses no module.',
      severity: 'error',
      from: { path: '^base/' },
      to: { path: '^(trust|entitlements|cni-plugins|fleet|admission|runtime|node|cli|packaging|bench)/' },
    },
    {
      name: 'leaves-use-base-only',
      comment:
        'trust, entitlements and cni-plugins import neither each other nor the modules that use them: each is a library of its own.',
      severity: 'error',
      from: { path: '^(trust|entitlements|cni-plugins)/' },
      to: { path: `^(${modules}|packaging|bench)/`, pathNot: ['^base/', '^$1/'] },
    },
    {
      name: 'fleet-uses-base-and-trust',
      comment: 'fleet reads verdict logs, which trust describes; it imports no other module.',
      severity: 'error',
      from: { path: '^fleet/' },
      to: { path: `^(${modules}|packaging|bench)/`, pathNot: '^(base|trust|fleet)/' },
    },
    {
      name: 'admission-uses-base-trust-and-entitlements',
      comment: 'admission decides by a policy and its profiles; how they are loaded comes in as a function.',
      severity: 'error',
      from: { path: '^admission/' },
      to: { path: `^(${modules}|packaging|bench)/`, pathNot: '^(base|trust|entitlements|admission)/' },
    },
    {
      name: 'runtime-is-not-a-client',
      comment: 'cli and node use runtime; runtime never uses them.',
      severity: 'error',
      from: { path: '^runtime/' },
      to: { path: '^(node|cli|packaging|bench)/' },
    },
    {
      name: 'node-is-a-client',
      comment: 'node reaches the daemon by its sockets; from the modules it takes clients and checks.',
      severity: 'error',
      from: { path: '^node/' },
      to: { path: `^(${modules}|packaging|bench)/`, pathNot: '^(base|cni-plugins|runtime|node)/' },
    },
    {
      name: 'only-by-the-entry-point',
      comment:
        'A module is entered by the files that test/house/entry-points.json lists, and each folder of base by its index.ts. Benches may measure what is inside, manual pages describe it, and the build generates validators of its schemas.',
      severity: 'error',
      from: {
        path: '^(base/[^/]+|trust|entitlements|cni-plugins|fleet|admission|runtime|node|cli|packaging)/',
        pathNot: [describing, generating],
      },
      to: {
        path: inside,
        pathNot: ['^$1/', '^base/[^/]+/index\\.ts$', `^${oneOf(entryPoints)}`, fixtures],
      },
    },
    {
      name: 'cli-is-outermost',
      comment: 'No other module imports cli. Manual pages and completions are written from its commands.',
      severity: 'error',
      from: { path: '^(bench|packaging)/', pathNot: describing },
      to: { path: '^cli/' },
    },
    {
      name: 'no-test-code-in-the-product',
      comment: 'Only tests, their fixtures and benches may use test/ and fixtures.',
      severity: 'error',
      from: { path: `^(${modules}|packaging)/`, pathNot: ['\\.test\\.ts$', fixtures] },
      to: { path: `^test/|\\.test\\.ts$|${fixtures}` },
    },
    {
      name: 'no-cycles',
      comment:
        'Two modules that import each other are one module, or contain a third one. Imports of types count.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    ...layerRules,
    {
      name: 'entry-point-on-top',
      comment:
        'No file of a module imports an entry point of its own module, and no entry point another one.',
      severity: 'error',
      from: {
        path: '^(trust|entitlements|cni-plugins|fleet|admission|runtime|node|cli)/',
        pathNot: testCode,
      },
      to: { path: `^(?=$1/)${aboveLayers}` },
    },
    {
      name: 'koffi-in-one-place',
      comment:
        'base/process/koffi.ts loads koffi in such a way that a Worker which is terminated meanwhile does not abort the process.',
      severity: 'error',
      from: { path: `^(${modules})/`, pathNot: ['^base/process/koffi\\.ts$', '\\.test\\.ts$', fixtures] },
      to: { path: 'node_modules/koffi/' },
    },
    {
      name: 'no-unresolvable',
      severity: 'error',
      from: {},
      // The editor itself provides the module to its extensions.
      to: { couldNotResolve: true, pathNot: '^vscode$' },
    },
    {
      name: 'no-dev-packages-in-the-product',
      comment: 'Code that ships may only use packages that ship.',
      severity: 'error',
      from: { path: `^(${modules})/`, pathNot: ['\\.test\\.ts$', fixtures] },
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
