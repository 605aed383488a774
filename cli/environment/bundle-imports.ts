import { registerHooks } from 'node:module';

/**
 * Resolves imports between the files of the bundle by their names alone. Node looks for each file and its
 * package, and a command loads some 200 files: this is a sixth of the processor time of a short command.
 * Imports of sources and of packages are resolved by Node, as before.
 */
export function resolveBundleImports(bundle = import.meta.url): void {
  if (!bundle.endsWith('.js')) return;
  const folder = bundle.slice(0, bundle.lastIndexOf('/'));
  registerHooks({
    resolve(specifier, context, next) {
      const { parentURL: parent = '' } = context;
      if (!parent.startsWith(folder) || parent.lastIndexOf('/') !== folder.length)
        return next(specifier, context);
      if (specifier.startsWith('node:')) return { url: specifier, format: 'builtin', shortCircuit: true };
      // Files in folders of the bundle are few, and may be something else.
      if (!/^\.\/[^/]+\.js$/u.test(specifier)) return next(specifier, context);
      return { url: folder + specifier.slice(1), format: 'module', shortCircuit: true };
    },
  });
}
