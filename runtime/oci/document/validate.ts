import { parseDocuments, validate } from '../../../base/schema/index.ts';
import type { Document, PathSegment, Problem } from '../../../base/schema/index.ts';
import { ociConfigSchema } from './schema.ts';

interface Config {
  readonly process: {
    readonly args: readonly string[];
    readonly rlimits?: readonly { readonly type: string; readonly soft: number; readonly hard: number }[];
    readonly capabilities?: Readonly<Record<string, readonly string[] | undefined>>;
  };
  readonly linux?: {
    readonly namespaces?: readonly { readonly type: string; readonly path?: string }[];
    readonly uidMappings?: readonly unknown[];
    readonly sysctl?: Readonly<Record<string, string>>;
    readonly devices?: readonly { readonly type: string; readonly major?: number }[];
  };
  readonly hostname?: string;
}

/**
 * Validates a `config.json`: its schema, and the rules of the specification that a schema cannot express.
 * Returns every problem at once, with line and column. An empty list means that it is valid.
 * @param file the name used in problems
 */
export function validateOciConfig(text: string, file: string): readonly Problem[] {
  const { documents, problems } = parseDocuments(text, file, { bytes: 16 * 2 ** 20, documents: 1 });
  if (problems.length > 0) return problems;
  const [document] = documents;
  if (document === undefined) return [empty(file)];
  const shape = validate(document, ociConfigSchema);
  return shape.length > 0 ? shape : meaning(document);
}

/** The output of a program that failed is empty, and must not pass for a valid configuration. */
const empty = (file: string): Problem => ({
  position: { file, line: 1, column: 1 },
  path: '',
  message: 'the file is empty',
  fix: 'write a configuration into it: portcullis spec generate prints one',
});

/** runtime-spec: config.md#process, config-linux.md#namespaces, capabilities(7). */
function meaning(document: Document): readonly Problem[] {
  const { process, linux, hostname } = document.value as Config;
  const found: Problem[] = [];
  const problem = (path: readonly PathSegment[], message: string, fix: string): void => {
    found.push({ position: document.positionOf([...path], 'value'), path: path.join('.'), message, fix });
  };
  if (process.args[0] === '')
    problem(['process', 'args', 0], 'the program has no name', 'name a program of the root file system');
  duplicates(process.rlimits ?? []).forEach((index) =>
    problem(
      ['process', 'rlimits', index, 'type'],
      'a limit of this type is already set',
      'keep only one of them',
    ),
  );
  (process.rlimits ?? []).forEach(({ soft, hard }, index) => {
    if (soft > hard)
      problem(['process', 'rlimits', index, 'soft'], `${soft} is above the hard limit ${hard}`, 'lower it');
  });
  const {
    bounding,
    permitted = [],
    effective = [],
    inheritable = [],
    ambient = [],
  } = process.capabilities ?? {};
  const subset = (
    set: string,
    names: readonly string[],
    of: string,
    all: readonly string[] | undefined,
  ): void =>
    names.forEach((name, index) => {
      if (all?.includes(name) === false)
        problem(
          ['process', 'capabilities', set, index],
          `${name} is not in the ${of} set`,
          `add it there, or remove it from the ${set} set`,
        );
    });
  subset('effective', effective, 'permitted', permitted);
  subset('permitted', permitted, 'bounding', bounding);
  subset('ambient', ambient, 'permitted', permitted);
  subset('ambient', ambient, 'inheritable', inheritable);
  const namespaces = linux?.namespaces ?? [];
  duplicates(namespaces).forEach((index) =>
    problem(
      ['linux', 'namespaces', index, 'type'],
      'a namespace of this type is already listed',
      'keep only one of them',
    ),
  );
  const has = (type: string): boolean => namespaces.some((namespace) => namespace.type === type);
  if (hostname !== undefined && !has('uts'))
    problem(['hostname'], 'a host name needs a uts namespace', 'add { "type": "uts" } to linux.namespaces');
  if ((linux?.uidMappings?.length ?? 0) > 0 && !has('user'))
    problem(
      ['linux', 'uidMappings'],
      'mappings need a user namespace',
      'add { "type": "user" } to linux.namespaces',
    );
  for (const key of Object.keys(linux?.sysctl ?? {})) {
    if (key.startsWith('net.') && !has('network'))
      problem(
        ['linux', 'sysctl', key],
        'it would change the network of the host',
        'add { "type": "network" } to linux.namespaces',
      );
  }
  (linux?.devices ?? []).forEach(({ type, major }, index) => {
    if (type !== 'p' && major === undefined)
      problem(['linux', 'devices', index], 'a device node needs major and minor', 'add both');
  });
  return found;
}

function duplicates(items: readonly { readonly type: string }[]): number[] {
  return items.flatMap(({ type }, index) =>
    items.findIndex((other) => other.type === type) < index ? [index] : [],
  );
}
