import { defineConfig } from 'eslint/config';
import jsdoc from 'eslint-plugin-jsdoc';
import tseslint from 'typescript-eslint';
import { doorFiles } from './test/house/door-files.ts';

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

/** What a room exports. Its comments are the reference of the library. */
const exported = [
  'ExportNamedDeclaration > FunctionDeclaration',
  'ExportNamedDeclaration > VariableDeclaration > VariableDeclarator > ArrowFunctionExpression',
  'ExportNamedDeclaration > ClassDeclaration',
];

export default defineConfig(
  {
    ignores: [
      'node_modules/',
      'dist/',
      'site/dist/',
      'site/vitepress/',
      'coverage/',
      '**/*.js',
      '**/*.cjs',
      '**/*.mjs',
      '**/generated/**',
      'runtime/cri/contract/contract.types.ts',
      'runtime/shim/contract.types.ts',
      'runtime/nri/protocol/contract.types.ts',
    ],
  },
  tseslint.configs.strictTypeChecked,
  {
    files: ['**/*.ts'],
    languageOptions: { parserOptions: { project: './tsconfig.json', tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      'no-restricted-syntax': ['error', noDefaultExport, noConsole, noSpreadOfAnyLength],
      'no-restricted-properties': [
        'error',
        { object: 'JSON', property: 'parse', message: 'parseJson of base/json bounds nesting.' },
      ],
      'no-var': 'error',
      'prefer-const': 'error',
      eqeqeq: 'error',
      'max-lines': ['error', { max: 400, skipBlankLines: true, skipComments: true }],
      // prettier cannot break strings, and breaks no comment.
      'max-len': [
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
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrorsIgnorePattern: '^_' },
      ],
      // Numbers and booleans read well in messages.
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      // node:test's describe and it return promises that the runner itself awaits.
      '@typescript-eslint/no-floating-promises': [
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
      // Off: matters of taste, or blind to records of functions.
      '@typescript-eslint/no-confusing-void-expression': 'off',
      '@typescript-eslint/unbound-method': 'off',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-unnecessary-type-conversion': 'off',
      '@typescript-eslint/prefer-reduce-type-parameter': 'off',
      '@typescript-eslint/no-meaningless-void-operator': 'off',
      '@typescript-eslint/no-invalid-void-type': 'off',
      '@typescript-eslint/unified-signatures': 'off',
    },
  },
  {
    // It runs in a browser, and has other globals.
    files: ['fleet/console/**/*.ts'],
    languageOptions: {
      parserOptions: { project: './fleet/console/tsconfig.json', tsconfigRootDir: import.meta.dirname },
    },
  },
  {
    // Code of the product. Every line counts, those of comments, of blank lines and of inner functions too.
    files: ['{base,trust,entitlements,cni-plugins,fleet,admission,runtime,node,cli,packaging}/**/*.ts'],
    ignores: ['**/*.test.ts', '**/*.fixture.ts', '**/fixtures/**', '**/test-kit.ts'],
    rules: { 'max-lines-per-function': ['error', { max: 140, skipBlankLines: false, skipComments: false }] },
  },
  {
    files: doorFiles(),
    plugins: { jsdoc },
    settings: { jsdoc: { mode: 'typescript' } },
    rules: {
      'jsdoc/require-jsdoc': [
        'error',
        {
          publicOnly: { esm: true, cjs: false, window: false },
          require: { FunctionDeclaration: true, ArrowFunctionExpression: true, ClassDeclaration: true },
          enableFixer: false,
        },
      ],
      'jsdoc/require-description': ['error', { contexts: exported }],
      'jsdoc/require-throws': ['error', { contexts: exported }],
    },
  },
  {
    files: ['**/*.test.ts', 'test/**', 'bench/**'],
    rules: {
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-unnecessary-condition': 'off',
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
    rules: { 'no-restricted-syntax': ['error', noDefaultExport, noConsole] },
  },
  {
    files: ['test/**', 'bench/**', 'packaging/**', 'site/**'],
    rules: { 'no-restricted-properties': 'off', 'no-restricted-syntax': ['error', noDefaultExport] },
  },
);
