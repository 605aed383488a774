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

/** `assert.match(daemon.log(), …)`, and `assert.ok(daemon.log().includes(…))` without a `!`. */
const noLogBeforeItsLine = {
  selector:
    "CallExpression[callee.object.name='assert'][callee.property.name=/^(match|ok|equal|notEqual)$/] > :first-child:not(UnaryExpression):matches([callee.property.name='log'][arguments.length=0], :has([callee.property.name='log'][arguments.length=0]))",
  message: 'The line may be written after the answer: await daemon.logged(…), or poll for it.',
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
  tseslint.configs.strict,
  {
    files: ['**/*.ts'],
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
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrorsIgnorePattern: '^_' },
      ],
      // Off: matters of taste, or blind to records of functions.
      '@typescript-eslint/no-invalid-void-type': 'off',
      '@typescript-eslint/unified-signatures': 'off',
    },
  },
  {
    // Code of the product. Every line counts, those of comments, of blank lines and of inner functions too.
    files: ['{base,trust,entitlements,cni-plugins,fleet,admission,runtime,node,cli,packaging}/**/*.ts'],
    ignores: ['**/*.test.ts', '**/*.fixture.ts', '**/fixtures/**', '**/test-kit.ts'],
    rules: { 'max-lines-per-function': ['error', { max: 120, skipBlankLines: false, skipComments: false }] },
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
      'jsdoc/check-param-names': ['error', { checkDestructured: false, disableMissingParamChecks: true }],
      'jsdoc/require-param-description': 'error',
      'jsdoc/require-returns-description': 'error',
      'jsdoc/check-tag-names': 'error',
    },
  },
  {
    files: ['**/*.test.ts', 'test/**', 'bench/**'],
    rules: {
      '@typescript-eslint/no-non-null-assertion': 'off',
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
    rules: { 'no-restricted-syntax': ['error', noDefaultExport, noConsole, noLogBeforeItsLine] },
  },
  {
    files: ['test/**', 'bench/**', 'packaging/**', 'site/**'],
    rules: {
      'no-restricted-properties': 'off',
      'no-restricted-syntax': ['error', noDefaultExport, noLogBeforeItsLine],
    },
  },
);
