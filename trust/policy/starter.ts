import { apiVersion, trustPolicySchemaId } from './schema.ts';

/** A commented policy to begin with; it admits nothing but images signed by `cosign.pub`. `schema`: a URL or a path beside the file. */
export function starterPolicy(schema: string = trustPolicySchemaId): string {
  return `# yaml-language-server: $schema=${schema}
# Which images may run here. Every rule that matches an image must admit it; what no rule matches is denied.
# Check this file:            portcullis policy check FILE
# See what it says of one:    portcullis policy explain IMAGE --policy FILE
apiVersion: ${apiVersion}
kind: TrustPolicy
default: deny
rules:
  # Images of one registry path, signed with one key.
  # "*" is one path segment, "**" is any number of them, "localhost:*" is any port.
  - images: ["registry.example.com/team/**"]
    # namespaces: ["team-*"]         # only there; elsewhere this rule does not match
    require:
      cosign: { key: cosign.pub } #   a file beside this policy: portcullis sign --generate-key cosign
    # entitlements: { ceiling: baseline } # the most a container of these images gets; baseline unless told

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
