import { defineConfig } from 'oxlint';
import type { DummyRuleMap } from 'oxlint';
import { exportedFiles } from './test/house/exported-files.ts';

const noDefaultExport = {
  selector: 'ExportDefaultDeclaration',
  message: 'Named exports only: a thing has one name everywhere.',
};
const noConsole = {
  selector: "MemberExpression[object.name='console']",
  message: 'Write to a stream that was handed in, or log.',
};
const noSpreadOfAnyLength = {
  selector:
    'CallExpression[callee.property.name=/^(push|unshift|splice|concat|max|min|hypot|fromCharCode|fromCodePoint|of)$/] > SpreadElement',
  message:
    'The stack holds some 100,000 arguments, and a list may be longer: append, largest and smallest of base/lists, or a loop.',
};

/** `assert.match(daemon.log(), …)`, and `assert.ok(daemon.log().includes(…))` without a `!`. */
const assertion =
  "CallExpression[callee.object.name='assert'][callee.property.name=/^(match|ok|equal|notEqual)$/]";
const log = "CallExpression[callee.property.name='log'][arguments.length=0]";
const noLogBeforeItsLine = {
  selector: `${assertion} > ${log}:first-child, ${assertion} > :first-child:not(UnaryExpression) ${log}`,
  message: 'The line may be written after the answer: await daemon.logged(…), or poll for it.',
};

/** The exports of a module. Their comments are the reference of the library. */
const exported = [
  'ExportNamedDeclaration > FunctionDeclaration',
  'ExportNamedDeclaration > VariableDeclaration > VariableDeclarator > ArrowFunctionExpression',
  'ExportNamedDeclaration > ClassDeclaration',
];

/** The comments of what a module exports. */
export const documented: DummyRuleMap = {
  'jsdoc-js/require-jsdoc': [
    'error',
    {
      publicOnly: { esm: true, cjs: false, window: false },
      require: { FunctionDeclaration: true, ArrowFunctionExpression: true, ClassDeclaration: true },
      enableFixer: false,
    },
  ],
  'jsdoc-js/require-description': ['error', { contexts: exported }],
  'jsdoc-js/require-throws': ['error', { contexts: exported }],
  'jsdoc-js/check-param-names': ['error', { checkDestructured: false, disableMissingParamChecks: true }],
  'jsdoc-js/require-param-description': 'error',
  'jsdoc-js/require-returns-description': 'error',
  'jsdoc-js/check-tag-names': 'error',
};

/** Mistakes that the text of a file reveals. */
const untyped: DummyRuleMap = {
  'no-var': 'error',
  'prefer-const': 'error',
  'prefer-rest-params': 'error',
  'prefer-spread': 'error',
  'no-array-constructor': 'error',
  'no-unused-expressions': 'error',
  'no-useless-constructor': 'error',
  eqeqeq: 'error',
  'no-unused-vars': [
    'error',
    { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrorsIgnorePattern: '^_' },
  ],
  'typescript/ban-ts-comment': ['error', { minimumDescriptionLength: 10 }],
  'typescript/no-dynamic-delete': 'error',
  'typescript/no-duplicate-enum-values': 'error',
  'typescript/no-empty-object-type': 'error',
  'typescript/no-explicit-any': 'error',
  'typescript/no-extra-non-null-assertion': 'error',
  'typescript/no-extraneous-class': 'error',
  'typescript/no-misused-new': 'error',
  'typescript/no-namespace': 'error',
  'typescript/no-non-null-asserted-nullish-coalescing': 'error',
  'typescript/no-non-null-asserted-optional-chain': 'error',
  'typescript/no-non-null-assertion': 'error',
  'typescript/no-require-imports': 'error',
  'typescript/no-this-alias': 'error',
  'typescript/no-unnecessary-type-constraint': 'error',
  'typescript/no-unsafe-declaration-merging': 'error',
  'typescript/no-unsafe-function-type': 'error',
  'typescript/no-wrapper-object-types': 'error',
  'typescript/prefer-as-const': 'error',
  'typescript/prefer-literal-enum-member': 'error',
  'typescript/prefer-namespace-keyword': 'error',
  'typescript/triple-slash-reference': 'error',
  'typescript/consistent-type-imports': 'error',
};

/** Mistakes that the types reveal. */
const typed: DummyRuleMap = {
  'typescript/await-thenable': 'error',
  'typescript/no-array-delete': 'error',
  'typescript/no-base-to-string': 'error',
  'typescript/no-deprecated': 'error',
  'typescript/no-duplicate-type-constituents': 'error',
  'typescript/no-floating-promises': [
    'error',
    {
      allowForKnownSafeCalls: [
        {
          from: 'package',
          package: 'node:test',
          name: ['describe', 'it', 'test', 'suite', 'before', 'after', 'beforeEach', 'afterEach'],
        },
      ],
    },
  ],
  'typescript/no-for-in-array': 'error',
  'typescript/no-implied-eval': 'error',
  'typescript/no-misused-promises': 'error',
  'typescript/no-misused-spread': 'error',
  'typescript/no-mixed-enums': 'error',
  'typescript/no-redundant-type-constituents': 'error',
  'typescript/no-unnecessary-boolean-literal-compare': 'error',
  'typescript/no-unnecessary-condition': 'error',
  'typescript/no-unnecessary-template-expression': 'error',
  'typescript/no-unnecessary-type-arguments': 'error',
  'typescript/no-unnecessary-type-assertion': 'error',
  'typescript/no-unnecessary-type-parameters': 'error',
  'typescript/no-unsafe-argument': 'error',
  'typescript/no-unsafe-assignment': 'error',
  'typescript/no-unsafe-call': 'error',
  'typescript/no-unsafe-enum-comparison': 'error',
  'typescript/no-unsafe-member-access': 'error',
  'typescript/no-unsafe-return': 'error',
  'typescript/no-unsafe-unary-minus': 'error',
  'typescript/no-useless-default-assignment': 'error',
  'typescript/only-throw-error': 'error',
  'typescript/prefer-promise-reject-errors': 'error',
  'typescript/prefer-return-this-type': 'error',
  'typescript/related-getter-setter-pairs': 'error',
  'typescript/restrict-plus-operands': [
    'error',
    {
      allowAny: false,
      allowBoolean: false,
      allowNullish: false,
      allowNumberAndString: false,
      allowRegExp: false,
    },
  ],
  'typescript/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
  'typescript/return-await': ['error', 'error-handling-correctness-only'],
  'typescript/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
  'typescript/use-unknown-in-catch-callback-variable': 'error',
};

export default defineConfig({
  plugins: ['typescript', 'eslint'],
  jsPlugins: [
    { name: 'eslint-js', specifier: 'oxlint-plugin-eslint' },
    { name: 'jsdoc-js', specifier: 'eslint-plugin-jsdoc' },
  ],
  settings: { jsdoc: { mode: 'typescript' } },
  categories: { correctness: 'off' },
  options: { typeAware: true, typeCheck: true, denyWarnings: true, reportUnusedDisableDirectives: 'error' },
  ignorePatterns: [
    'node_modules/',
    'dist/',
    'site/dist/',
    'site/vitepress/',
    'coverage/',
    '**/*.js',
    '**/*.cjs',
    '**/*.mjs',
  ],
  rules: {
    ...untyped,
    ...typed,
    'no-restricted-properties': [
      'error',
      { object: 'JSON', property: 'parse', message: 'parseJson of base/json bounds nesting.' },
    ],
    'max-lines': ['error', { max: 400, skipBlankLines: true, skipComments: true }],
    'eslint-js/no-restricted-syntax': ['error', noDefaultExport, noConsole, noSpreadOfAnyLength],
    // The formatter cannot break strings, and breaks no comment.
    'eslint-js/max-len': [
      'error',
      {
        code: 110,
        ignoreStrings: true,
        ignoreTemplateLiterals: true,
        ignoreRegExpLiterals: true,
        ignoreUrls: true,
        // Tables in comments.
        ignorePattern: String.raw`^\s*\* \|`,
      },
    ],
  },
  overrides: [
    {
      // Code of the product. Every line counts, those of comments, of blank lines and of inner functions too.
      files: ['{base,trust,entitlements,cni-plugins,fleet,admission,runtime,node,cli,packaging}/**/*.ts'],
      excludeFiles: ['**/*.test.ts', '**/*.fixture.ts', '**/fixtures/**', '**/test-kit.ts'],
      rules: {
        'max-lines-per-function': ['error', { max: 120, skipBlankLines: false, skipComments: false }],
      },
    },
    {
      files: exportedFiles(),
      rules: documented,
    },
    {
      files: ['**/*.test.ts', 'test/**', 'bench/**'],
      rules: {
        'typescript/no-non-null-assertion': 'off',
        'typescript/no-unnecessary-condition': 'off',
        'max-lines': 'off',
        'no-restricted-properties': 'off',
      },
    },
    {
      files: ['**/*.fixture.ts', '**/fixtures/**', 'base/protobuf/generate-types.ts'],
      rules: { 'no-restricted-properties': 'off' },
    },
    {
      files: ['**/*.test.ts', '**/*.fixture.ts', '**/fixtures/**', '**/test-kit.ts'],
      rules: { 'eslint-js/no-restricted-syntax': ['error', noDefaultExport, noConsole, noLogBeforeItsLine] },
    },
    {
      files: ['test/**', 'bench/**', 'packaging/**', 'site/**'],
      rules: {
        'no-restricted-properties': 'off',
        'eslint-js/no-restricted-syntax': ['error', noDefaultExport, noLogBeforeItsLine],
      },
    },
    {
      // Written by a generator.
      files: ['**/generated/**', '**/contract.types.ts'],
      rules: { 'max-lines': 'off', 'eslint-js/max-len': 'off' },
    },
    {
      // oxlint and the modules of others want a default export.
      files: ['oxlint.config.ts', 'base/http/undici-parts.d.ts'],
      rules: { 'eslint-js/no-restricted-syntax': 'off' },
    },
  ],
});
