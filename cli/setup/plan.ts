import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { PortcullisError } from '../../base/errors/index.ts';
import { freeSubnet, planNetwork, requireFreeSubnet } from '../../cni-plugins/index.ts';
import { formatFlags } from '../../runtime/index.ts';
import { starterPolicyFiles } from '../../trust/policy/index.ts';
import { exists } from './found.ts';
import type { Found } from './found.ts';

/** The choices of the user, by flags or by answers. */
export interface Choices {
  /** Patterns of the images that the policy admits once they are signed. */
  readonly images: readonly string[];
  /** Makes `PREFIX.key` and `PREFIX.pub`. */
  readonly key?: string;
  /** `auto`: a free one is chosen; `none`: no network is written. */
  readonly subnets: readonly string[] | 'auto' | 'none';
}

/** A file that the setup is about, in the order of writing. */
export interface SetupFile {
  readonly path: string;
  readonly purpose: string;
  /** In octal. */
  readonly mode: '0600' | '0644';
  readonly state: 'kept' | 'new' | 'written';
  /** Absent for a file that is kept, and for the files of a key pair, which do not exist yet. */
  readonly content?: string;
  /** Why the file is kept, or what its content will be. */
  readonly note?: string;
}

export interface Plan {
  readonly files: readonly SetupFile[];
  /** The key pair to complete, and where the policy reads its public key. */
  readonly key?: { readonly prefix: string; readonly policyKey: string };
  /** Bridges of the new network. */
  readonly bridges: readonly string[];
  /** Steps that the user still has to take. */
  readonly next: readonly string[];
}

/**
 * Returns each file that the setup keeps or creates, with its content. Writes nothing.
 * @throws PortcullisError for each choice that cannot be carried out
 */
export async function makePlan(found: Found, choices: Choices): Promise<Plan> {
  const { policy } = found;
  const policyKey = join(dirname(policy.file), 'cosign.pub');
  const keyFiles = choices.key === undefined ? [] : await planKey(choices.key, policyKey);
  const network = planPodNetwork(found, choices);
  const files = [...keyFiles, network.file, ...(await planPolicy(found, choices)), planConfig(found)].filter(
    (file) => file !== undefined,
  );
  const needsKey = choices.key === undefined && !policy.kept && !(await exists(policyKey));
  return {
    files,
    ...(choices.key !== undefined && { key: { prefix: resolve(choices.key), policyKey } }),
    bridges: network.bridges,
    next: [
      ...(needsKey
        ? [
            `copy the public key of your images to ${policyKey}: the policy is invalid without it, and the daemon admits nothing`,
          ]
        : []),
      ...(policy.invalid === true
        ? [
            `correct the policy: it is not valid, and the daemon admits nothing: portcullis policy check ${dirname(policy.file)}`,
          ]
        : []),
    ],
  };
}

async function planKey(prefix: string, policyKey: string): Promise<SetupFile[]> {
  if (prefix === '' || prefix.endsWith('/'))
    throw invalid('make a key pair', prefix, 'a prefix is a path such as cosign or /root/keys/cosign');
  const [privateFile, publicFile] = [resolve(`${prefix}.key`), resolve(`${prefix}.pub`)];
  const [hasPrivate, hasPublic, hasPolicyKey] = [
    await exists(privateFile),
    await exists(publicFile),
    await exists(policyKey),
  ];
  if (!hasPrivate && hasPublic)
    throw new PortcullisError({
      code: 'TRUST_KEY_EXISTS',
      kind: 'invalid',
      attempted: 'make a key pair',
      on: publicFile,
      why: `the file exists, but ${privateFile} does not`,
      fix: 'choose another prefix, or remove it',
    });
  if (
    hasPolicyKey &&
    policyKey !== publicFile &&
    !(hasPublic && (await hasSameContent(publicFile, policyKey)))
  )
    throw new PortcullisError({
      code: 'CLI_SETUP_KEY_DIFFERS',
      kind: 'precondition',
      attempted: 'let the policy trust the key pair',
      on: policyKey,
      why: `it exists and is not ${publicFile}, and nothing is overwritten`,
      fix: 'give the prefix of the pair that it belongs to, leave out --key, or move the file away',
    });
  const key = (
    path: string,
    purpose: string,
    mode: SetupFile['mode'],
    kept: boolean,
    note: string,
  ): SetupFile =>
    kept
      ? { path, purpose, mode, state: 'kept', note: 'it exists' }
      : { path, purpose, mode, state: 'new', note };
  return [
    key(
      privateFile,
      'private key',
      '0600',
      hasPrivate,
      'a new ECDSA P-256 key, encrypted with a passphrase; keep it away from other users',
    ),
    key(publicFile, 'public key', '0644', hasPublic, 'the public half of this key'),
    ...(policyKey === publicFile
      ? []
      : [key(policyKey, 'public key for the policy', '0644', hasPolicyKey, `a copy of ${publicFile}`)]),
  ];
}

/** A public key has a few hundred bytes. */
const maximumKeyBytes = 64 * 1024;

async function hasSameContent(one: string, other: string): Promise<boolean> {
  for (const file of [one, other]) if ((await stat(file)).size > maximumKeyBytes) return false;
  return (await readFile(one)).equals(await readFile(other));
}

function planPodNetwork(
  { network, networks }: Found,
  { subnets }: Choices,
): { readonly file?: SetupFile; readonly bridges: readonly string[] } {
  const purpose = 'network of pods';
  if (network !== undefined) {
    if (Array.isArray(subnets))
      throw new PortcullisError({
        code: 'CLI_SETUP_NETWORK_EXISTS',
        kind: 'precondition',
        attempted: 'give the pods the subnet',
        on: subnets.join(', '),
        why: `pods get the network ${network.name} of ${network.file} already, and nothing is overwritten`,
        fix: 'leave out --subnet, or edit that file',
      });
    const note = `pods get the network ${network.name} already`;
    return { file: { path: network.file, purpose, mode: '0644', state: 'kept', note }, bridges: [] };
  }
  if (subnets === 'none') return { bridges: [] };
  if (subnets !== 'auto') for (const subnet of subnets) requireFreeSubnet(networks, subnet);
  const { file, text, bridges } = planNetwork(networks, {
    name: 'pods',
    type: 'bridge',
    subnets: subnets === 'auto' ? [freeSubnet(networks)] : subnets,
    gateways: [],
    masquerade: true,
    separated: true,
    internal: false,
    podNamespaces: [],
    order: '50',
  });
  return { file: { path: file, purpose, mode: '0644', state: 'new', content: text }, bridges };
}

/** The schema comes first: when the policy exists, everything that it needs exists. */
async function planPolicy({ policy }: Found, { images }: Choices): Promise<SetupFile[]> {
  const purpose = 'trust policy';
  if (policy.kept)
    return [
      {
        path: policy.file,
        purpose,
        mode: '0644',
        state: 'kept',
        note: 'it exists; for other images, add rules',
      },
    ];
  const starter = starterPolicyFiles(policy.file, images);
  const schemaExists = await exists(starter.schema.file);
  const schema = {
    path: starter.schema.file,
    purpose: 'schema of the policy, for editors',
    mode: '0644',
  } as const;
  return [
    schemaExists
      ? { ...schema, state: 'kept', note: 'it exists' }
      : { ...schema, state: 'new', content: starter.schema.content },
    { path: starter.policy.file, purpose, mode: '0644', state: 'new', content: starter.policy.content },
  ];
}

/** Every setting has a default, so a configuration is written only for settings that flags give. */
function planConfig({ configFile, configExists, flags }: Found): SetupFile | undefined {
  const file = { path: configFile, purpose: 'configuration of the daemon', mode: '0644' } as const;
  if (configExists) return { ...file, state: 'kept', note: 'it exists' };
  if (Object.keys(flags).length === 0) return undefined;
  return {
    ...file,
    state: 'new',
    content: `# docs/configuration.md lists every option.\n${formatFlags(flags, (path) => resolve(path))}`,
  };
}

function invalid(attempted: string, on: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'CLI_SETUP_INVALID',
    kind: 'invalid',
    attempted,
    on: basename(on),
    why,
    fix: 'give another value; nothing was written',
  });
}
