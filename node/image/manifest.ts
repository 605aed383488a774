import { PortcullisError } from '../../base/errors/index.ts';
import { describeProblems, parseDocuments, validate } from '../../base/schema/index.ts';
import type { JsonSchema } from '../../base/schema/index.ts';

/** The parts of a node image. Each of them is a file of this name beside the manifest. */
export const imageParts = { root: 'root.img', kernel: 'vmlinuz', initial: 'initial.img' } as const;
export type ImagePart = keyof typeof imageParts;
export const manifestName = 'manifest.json';
/** The sigstore bundle with the signature of the manifest. */
export const bundleName = 'manifest.json.bundle';
/** More than a manifest, or a bundle, ever has. */
export const mostManifestBytes = 64 * 1024;

export interface PartFile {
  readonly bytes: number;
  /** In hexadecimal. */
  readonly sha256: string;
}

/** The digests of everything that a node boots. A signer of node images signs this. */
export interface NodeImageManifest {
  readonly apiVersion: 'portcullis.dev/v1alpha1';
  readonly kind: 'NodeImageManifest';
  /** A node takes only updates with the name of its own image. */
  readonly name: string;
  /** A node takes only updates with a higher version than that of its own image. */
  readonly version: number;
  readonly architecture: 'amd64';
  /** Words for the kernel. The boot adds the slot and the root. */
  readonly commandLine: string;
  readonly parts: Readonly<Record<ImagePart, PartFile>>;
  /** Parameters of dm-verity. The hash tree is in the part `root`, after the blocks of data. */
  readonly verity: { readonly rootHash: string; readonly salt: string; readonly dataBlocks: number };
}

const digest: JsonSchema = { type: 'string', pattern: '^[0-9a-f]{64}$' };
const part: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['bytes', 'sha256'],
  // The end of a number that JSON readers agree on is far above the size of any slot.
  properties: { bytes: { type: 'integer', minimum: 1, maximum: 2 ** 40 }, sha256: digest },
};
const schema: JsonSchema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  additionalProperties: false,
  required: ['apiVersion', 'kind', 'name', 'version', 'architecture', 'commandLine', 'parts', 'verity'],
  properties: {
    apiVersion: { const: 'portcullis.dev/v1alpha1' },
    kind: { const: 'NodeImageManifest' },
    name: { type: 'string', pattern: '^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$' },
    version: { type: 'integer', minimum: 1, maximum: 2 ** 31 - 1 },
    architecture: { const: 'amd64' },
    // One line of printable ASCII: it becomes a line of a boot entry.
    commandLine: { type: 'string', pattern: '^[ -~]{0,1024}$' },
    parts: {
      type: 'object',
      additionalProperties: false,
      required: Object.keys(imageParts),
      properties: Object.fromEntries(Object.keys(imageParts).map((name) => [name, part])),
    },
    verity: {
      type: 'object',
      additionalProperties: false,
      required: ['rootHash', 'salt', 'dataBlocks'],
      properties: {
        rootHash: digest,
        salt: digest,
        dataBlocks: { type: 'integer', minimum: 1, maximum: 2 ** 28 },
      },
    },
  },
};

/**
 * Reads a manifest whose signature was verified.
 * @param source file or URL, for the message
 * @throws PortcullisError `NODE_IMAGE_INVALID` with all problems
 */
export function readManifest(bytes: Uint8Array, source: string): NodeImageManifest {
  const { documents, problems } = parseDocuments(Buffer.from(bytes).toString('utf8'), source, {
    bytes: mostManifestBytes,
    documents: 1,
  });
  const [document] = documents;
  const found = [...problems, ...(document === undefined ? [] : validate(document, schema))];
  if (document !== undefined && found.length === 0) return document.value as NodeImageManifest;
  throw new PortcullisError({
    code: 'NODE_IMAGE_INVALID',
    kind: 'invalid',
    attempted: 'read the manifest of a node image',
    on: source,
    why: found.length === 0 ? 'the file is empty' : describeProblems(found),
    fix: 'build the image again with `npm run node-image`',
  });
}

/** Writes a manifest. Equal manifests have equal bytes. */
export function formatManifest(manifest: NodeImageManifest): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}
