import { dirname, join } from 'node:path';
import {
  errnoOf,
  fileReason,
  isPortcullisError,
  PortcullisError,
  reasonOf,
} from '../../base/errors/index.ts';
import { createFileAtomic, kindOfUnwritten, writeFileAtomic } from '../../base/storage/index.ts';
import { parseImagePattern } from '../requirements/image-pattern.ts';
import { formatPolicy } from './format.ts';
import { apiVersion, trustPolicySchema, trustPolicySchemaId } from './schema.ts';

/** The images that the starter policy names by default. */
export const defaultImages: readonly string[] = ['registry.example.com/team/**'];

/**
 * Returns a commented policy to start with. It admits only images that match one of the patterns and are
 * signed by `cosign.pub`. `schema`: a URL or a path beside the file.
 * @throws PortcullisError `TRUST_IMAGE_PATTERN_INVALID`
 */
export function starterPolicy(
  schema: string = trustPolicySchemaId,
  images: readonly string[] = defaultImages,
): string {
  for (const pattern of images) checkPattern(pattern);
  const text = `# yaml-language-server: $schema=${schema}
# Which images may run here. Every rule that matches an image must admit it; an image that no rule matches is denied.
# Check this file:            portcullis policy check FILE
# See what it says about one: portcullis policy explain IMAGE --policy FILE
apiVersion: ${apiVersion}
kind: TrustPolicy
default: deny
rules:
  # Images of one registry path, signed with one key.
  # "*" is one path segment, "**" is any number of them, "localhost:*" is any port.
  - images: [ ${images.map((pattern) => JSON.stringify(pattern)).join(', ')} ]
    # namespaces: [ "team-*" ]       # only in these namespaces; elsewhere this rule does not match
    require:
      cosign: { key: cosign.pub } #   a file beside this policy: portcullis sign --generate-key cosign
    # entitlements: { ceiling: baseline } # the most that a container of these images gets; the default is baseline

  # More than one signer: any of these, or all, or a number of them.
  # - images: [ "registry.example.com/shared/**" ]
  #   require:
  #     threshold:
  #       count: 2
  #       of:
  #         - cosign: { key: build.pub }
  #         - cosign: { key: review.pub }
  #         - cosign: { key: release.pub }

  # Without any proof: for development only. Every listing shows such images as unverified.
  # - images: [ "localhost:*/dev/**" ]
  #   allow: unverified
`;
  // Many patterns do not fit on one line.
  return formatPolicy(text, 'policy.yaml').text;
}

/** A file of the starter policy. */
interface StarterFile {
  readonly file: string;
  readonly content: string;
}

/**
 * Returns the files of the starter policy: the schema for editors, and the policy itself. The schema file is
 * hidden, so that a policy folder does not load it.
 * @throws PortcullisError `TRUST_IMAGE_PATTERN_INVALID`
 */
export function starterPolicyFiles(
  file: string,
  images?: readonly string[],
): { readonly schema: StarterFile; readonly policy: StarterFile } {
  const schemaName = '.trust-policy.schema.json';
  return {
    schema: {
      file: join(dirname(file), schemaName),
      content: `${JSON.stringify(trustPolicySchema, null, 2)}\n`,
    },
    policy: { file, content: starterPolicy(`./${schemaName}`, images) },
  };
}

/**
 * Writes the starter policy to a new file, and the schema beside it.
 * @throws PortcullisError `TRUST_POLICY_NOT_WRITTEN`
 */
export async function writeStarterPolicy(
  file: string,
): Promise<{ readonly file: string; readonly schemaFile: string }> {
  const { schema, policy } = starterPolicyFiles(file);
  if (file.endsWith('.json'))
    throw notWritten(
      file,
      'it would be YAML with comments, which is not JSON',
      'name a file that ends in .yaml',
    );
  try {
    if (!(await createFileAtomic(file, policy.content, { mode: 0o644 })))
      throw new Error('it exists already, and nothing is overwritten');
    await writeFileAtomic(schema.file, schema.content, { mode: 0o644 });
  } catch (error) {
    const kind = kindOfUnwritten(error);
    const isOfMachine = kind !== 'invalid' && isPortcullisError(error);
    const fix = isOfMachine ? error.failure.fix : 'name a new file in a writable folder';
    throw notWritten(file, whyNotWritten(error, file), fix, kind);
  }
  return { file, schemaFile: schema.file };
}

const notWritten = (
  on: string,
  why: string,
  fix: string,
  kind: ReturnType<typeof kindOfUnwritten> = 'invalid',
): PortcullisError =>
  new PortcullisError({
    code: 'TRUST_POLICY_NOT_WRITTEN',
    attempted: 'write starter policy',
    ...{ kind, on, why, fix },
  });

function whyNotWritten(error: unknown, file: string): string {
  if (errnoOf(error) === 'ENOENT') return 'its folder does not exist';
  return isPortcullisError(error) ? error.failure.why : fileReason(error, file);
}

function checkPattern(pattern: string): void {
  try {
    parseImagePattern(pattern);
  } catch (error) {
    throw new PortcullisError({
      code: 'TRUST_IMAGE_PATTERN_INVALID',
      kind: 'invalid',
      attempted: 'write a policy for images',
      on: pattern,
      why: reasonOf(error),
      fix: 'name images by a pattern such as registry.example.com/team/**',
    });
  }
}
