import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { listProblems, parseDocuments, validate } from '../../base/schema/index.ts';
import type { JsonSchema } from '../../base/schema/index.ts';

/** A file that the recipe adds to the image, or puts in place of a file of a package. */
export interface RecipeFile {
  /** Absolute path in the image. */
  readonly path: string;
  /** The text. Either this or `from` is given. */
  readonly content?: string;
  /** A file, relative to the recipe. */
  readonly from?: string;
  readonly executable?: boolean;
}

/** A program that init runs beside the daemon, and starts again when it ends. */
export interface RecipeService {
  readonly name: string;
  readonly command: readonly string[];
}

/** A document of the kind NodeImage: what is in a node image. docs/node-image.md describes each field. */
export interface Recipe {
  readonly apiVersion: 'portcullis.dev/v1alpha1';
  readonly kind: 'NodeImage';
  readonly metadata: { readonly name: string };
  readonly version: number;
  readonly suite: string;
  readonly kernel: {
    readonly package: string;
    readonly commandLine: string;
    /** Modules that find the disk. */
    readonly initialModules: readonly string[];
    /** Modules that are loaded at the start. */
    readonly modules: readonly string[];
  };
  readonly packages: readonly string[];
  readonly hostname?: string;
  readonly files?: readonly RecipeFile[];
  readonly services?: readonly RecipeService[];
  readonly updates?: { readonly source: string; readonly everySeconds: number; readonly key: string };
  readonly health?: { readonly timeoutSeconds: number };
  readonly sizes: { readonly slotMiB: number; readonly stateMiB: number };
}

/** A recipe, and the folder that its paths are relative to. */
export interface ReadRecipe {
  readonly recipe: Recipe;
  readonly file: string;
  readonly folder: string;
}

const text = (pattern: string, description: string): JsonSchema => ({ type: 'string', pattern, description });
const list = (items: JsonSchema): JsonSchema => ({ type: 'array', maxItems: 1000, uniqueItems: true, items });
const whole = (minimum: number, maximum: number, description: string): JsonSchema => ({
  type: 'integer',
  ...{ minimum, maximum, description },
});
const record = (
  properties: Readonly<Record<string, JsonSchema>>,
  required: readonly string[] = Object.keys(properties),
): JsonSchema => ({ type: 'object', additionalProperties: false, required, properties });

const packageName = text('^[a-z0-9][a-z0-9+.-]{1,100}$', 'Name of a package of Debian.');
const moduleName = text('^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$', 'Name of a module of the kernel.');
// Words of the shell are written into scripts and into inittab(5): no character has a meaning there.
const word = text(
  '^[A-Za-z0-9_./:=,@%+-]{1,400}$',
  'A word without spaces and without characters of the shell.',
);

export const recipeSchema: JsonSchema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Portcullis NodeImage',
  description: 'The content of a node image.',
  ...record(
    {
      apiVersion: { const: 'portcullis.dev/v1alpha1' },
      kind: { const: 'NodeImage' },
      metadata: record({ name: text('^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$', 'Name of the image.') }),
      version: whole(1, 2 ** 31 - 1, 'A node takes only updates with a higher version.'),
      suite: text('^[a-z-]{1,40}$', 'Suite of Debian that the packages are from.'),
      kernel: record({
        package: packageName,
        commandLine: text('^[ -~]{0,800}$', 'Words for the kernel.'),
        initialModules: list(moduleName),
        modules: list(moduleName),
      }),
      packages: list(packageName),
      hostname: text(
        '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$',
        'Name of the machine. Default: that of the image.',
      ),
      files: list(
        record(
          {
            path: text('^(/[A-Za-z0-9_.+@-]+)+$', 'Absolute path in the image.'),
            content: { type: 'string', maxLength: 1_000_000 },
            from: { type: 'string', minLength: 1, maxLength: 4000 },
            executable: { type: 'boolean' },
          },
          ['path'],
        ),
      ),
      services: list(
        record({
          name: text('^[a-z0-9-]{1,40}$', 'Name of the service in the log.'),
          command: { type: 'array', minItems: 1, maxItems: 50, items: word },
        }),
      ),
      updates: record({
        source: text('^https?://[A-Za-z0-9_./:=,@%+-]{1,400}$', 'URL of the folder with the newest image.'),
        everySeconds: whole(10, 604_800, 'Seconds between two looks.'),
        key: { type: 'string', minLength: 1, maxLength: 4000, description: 'Public key that signs updates.' },
      }),
      health: record({
        timeoutSeconds: whole(10, 86_400, 'Seconds in which the daemon must be ready after a boot.'),
      }),
      sizes: record({
        slotMiB: whole(64, 65_536, 'Size of each of the two slots.'),
        stateMiB: whole(64, 1_048_576, 'Size of the partition with the state.'),
      }),
    },
    ['apiVersion', 'kind', 'metadata', 'version', 'suite', 'kernel', 'packages', 'sizes'],
  ),
};

/**
 * Reads a recipe.
 * @throws Error with all problems and their lines
 */
export function readRecipe(path: string): ReadRecipe {
  const file = resolve(path);
  const { documents, problems } = parseDocuments(readFileSync(file, 'utf8'), path, { documents: 1 });
  const [document] = documents;
  const found = [...problems, ...(document === undefined ? [] : validate(document, recipeSchema))];
  if (document === undefined || found.length > 0)
    throw new Error(`read the recipe ${path}: ${found.length === 0 ? 'it is empty' : listProblems(found)}`);
  const recipe = document.value as Recipe;
  const unclear = recipe.files?.find(({ content, from }) => (content === undefined) === (from === undefined));
  if (unclear !== undefined)
    throw new Error(`read the recipe ${path}: the file ${unclear.path} needs either \`content\` or \`from\``);
  return { recipe, file, folder: dirname(file) };
}
