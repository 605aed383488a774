import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PortcullisError, fileReason } from '../../base/errors/index.ts';
import { writeFileAtomic } from '../../base/storage/index.ts';
import { apiVersion, trustPolicySchema, trustPolicySchemaId } from './schema.ts';

/**
 * Returns a commented policy to start with. It admits only images signed by `cosign.pub`. `schema`: a URL or
 * a path beside the file.
 */
export function starterPolicy(schema: string = trustPolicySchemaId): string {
  return `# yaml-language-server: $schema=${schema}
# Which images may run here. Every rule that matches an image must admit it; an image that no rule matches is denied.
# Check this file:            portcullis policy check FILE
# See what it says about one: portcullis policy explain IMAGE --policy FILE
apiVersion: ${apiVersion}
kind: TrustPolicy
default: deny
rules:
  # Images of one registry path, signed with one key.
  # "*" is one path segment, "**" is any number of them, "localhost:*" is any port.
  - images: ["registry.example.com/team/**"]
    # namespaces: ["team-*"]         # only in these namespaces; elsewhere this rule does not match
    require:
      cosign: { key: cosign.pub } #   a file beside this policy: portcullis sign --generate-key cosign
    # entitlements: { ceiling: baseline } # the most that a container of these images gets; the default is baseline

  # More than one signer: any of these, or all, or a number of them.
  # - images: ["registry.example.com/shared/**"]
  #   require:
  #     threshold:
  #       count: 2
  #       of:
  #         - cosign: { key: build.pub }
  #         - cosign: { key: review.pub }
  #         - cosign: { key: release.pub }

  # Without any proof: for development only. Every listing shows such images as unverified.
  # - images: ["localhost:*/dev/**"]
  #   allow: unverified
`;
}

/**
 * Writes the starter policy to a new file, and the schema beside it. The schema file is hidden, so that a
 * policy folder does not load it.
 * @throws PortcullisError `TRUST_POLICY_NOT_WRITTEN`
 */
export async function writeStarterPolicy(file: string): Promise<{ readonly file: string; readonly schemaFile: string }> {
  const schemaName = '.trust-policy.schema.json';
  const schemaFile = join(dirname(file), schemaName);
  try {
    await writeFile(file, starterPolicy(`./${schemaName}`), { flag: 'wx', mode: 0o644 });
    await writeFileAtomic(schemaFile, `${JSON.stringify(trustPolicySchema, null, 2)}\n`, { mode: 0o644 });
  } catch (error) {
    throw new PortcullisError({
      code: 'TRUST_POLICY_NOT_WRITTEN',
      kind: 'invalid',
      attempted: 'write starter policy',
      on: file,
      why: fileReason(error, file),
      fix: 'name a new file in a writable folder',
    });
  }
  return { file, schemaFile };
}
