/**
 * Lets a program read only those exports of Node's built-in modules that it uses. For an `import` of such a
 * module, Node reads every export, and some exports load further modules when they are read
 * (docs/decisions/0140).
 */
import { isBuiltin } from 'node:module';
import type { Plugin } from 'esbuild';

const namespace = 'built-in-module';

/** Returns a module with the exports of a built-in module. esbuild omits those that nobody imports. */
function sourceOf(name: string): string {
  const names = Object.getOwnPropertyNames(process.getBuiltinModule(`node:${name}`))
    .filter((each) => /^[$_\p{ID_Start}][$\p{ID_Continue}]*$/u.test(each) && each !== 'default')
    .map((each, index) => ({ each, local: `export${index}` }));
  return [
    `const module = /* @__PURE__ */ process.getBuiltinModule('node:${name}');`,
    'const read = (name) => module[name];',
    ...names.map(({ each, local }) => `const ${local} = /* @__PURE__ */ read('${each}');`),
    `export { module as default, ${names.map(({ each, local }) => `${local} as ${each}`).join(', ')} };`,
  ].join('\n');
}

/** Replaces imports of built-in modules. `require` reads no export, and stays. */
export const builtinModules: Plugin = {
  name: 'builtin-modules',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^(?:node:)?[a-z_/\d]+$/ }, ({ kind, path }) =>
      kind === 'import-statement' && isBuiltin(path)
        ? { path: path.replace(/^node:/u, ''), namespace, sideEffects: false }
        : undefined,
    );
    onLoad({ filter: /./, namespace }, ({ path }) => ({ contents: sourceOf(path), loader: 'js' }));
  },
};
