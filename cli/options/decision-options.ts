import { userState } from '../environment/user-folders.ts';
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { closest } from '../../base/lists/index.ts';
import { createTrustServices, openRegistries } from '../../trust/index.ts';
import type { Platform, RegistryAccess, TrustServices } from '../../trust/index.ts';
import { collect, withRegistries } from './registry-options.ts';
import type { RegistryFlags } from './registry-options.ts';

/** The options of commands that decide about images. */
export interface DecisionFlags extends RegistryFlags {
  readonly policy?: readonly string[];
  readonly namespace: string;
  readonly trustState: string;
}

/** Adds the options that say by what the command decides, and for which namespace. */
export function withDecision(command: Command): Command {
  command
    .option('--policy <path>', 'policy file or folder; may be repeated', collect)
    .addOption(namespaceOption())
    .addOption(trustStateOption());
  return withRegistries(command);
}

/**
 * Returns the option `--namespace`, whose default is the empty name: rules for namespaces do not match.
 */
export function namespaceOption(): Option {
  return new Option(
    '--namespace <name>',
    'Kubernetes namespace; without it, rules for namespaces do not match',
  ).default('');
}

/** Returns the option `--trust-state`. */
export function trustStateOption(): Option {
  return new Option(
    '--trust-state <folder>',
    'where the state of trust services is stored, to detect rollbacks',
  ).default(userState('trust-services'));
}

/** The registries and trust services that a decision uses. The caller must close them. */
export interface OpenDecider {
  readonly registry: RegistryAccess;
  readonly services: TrustServices;
  close(): Promise<void>;
}

/**
 * Opens registries and trust services as the flags say.
 * @param connections the maximum number of connections to one registry, if it is not the usual number
 */
export async function openDecider(
  flags: RegistryFlags & Pick<DecisionFlags, 'trustState'>,
  connections?: number,
): Promise<OpenDecider> {
  const registry = await openRegistries({
    mirrors: flags.registryMirror,
    insecureHosts: flags.insecureRegistry,
    ...(connections === undefined ? {} : { connections }),
  });
  const services = createTrustServices({ folder: flags.trustState, registries: registry.options });
  return {
    registry,
    services,
    async close() {
      await services.close();
      await registry.close();
    },
  };
}

/** Values of GOOS and GOARCH (image-spec, "Image Index": platform), by which indexes name platforms. */
const systems =
  'aix android darwin dragonfly freebsd illumos ios js linux netbsd openbsd plan9 solaris wasip1 windows';
const architectures =
  '386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x wasm';
/** Names of architectures outside Go. */
const otherNames: ReadonlyMap<string, string> = new Map(
  Object.entries({ x86_64: 'amd64', aarch64: 'arm64', armhf: 'arm', i386: '386', i686: '386', x86: '386' }),
);

/**
 * Refuses a platform that no image is for. An image without an index has only one manifest, which would
 * otherwise be taken for a platform that is a typing error.
 */
function requireKnown(part: string, known: readonly string[]): void {
  if (known.includes(part)) return;
  const meant = otherNames.get(part) ?? closest(part, known);
  throw new InvalidArgumentError(
    `${part} is unknown: ${meant === undefined ? `use one of ${known.join(', ')}` : `did you mean ${meant}?`}`,
  );
}

/** Reads the value of `--platform`: `linux/arm64/v8`. */
export function readPlatform(text: string): Platform {
  const [os, architecture, variant, ...rest] = text.split('/');
  if (
    os === undefined ||
    architecture === undefined ||
    rest.length > 0 ||
    [os, architecture, variant ?? 'v'].some((part) => !/^[a-z0-9._]+$/.test(part))
  )
    throw new InvalidArgumentError(
      'write OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, such as linux/arm64/v8',
    );
  requireKnown(os, systems.split(' '));
  requireKnown(architecture, architectures.split(' '));
  return { os, architecture, ...(variant === undefined ? {} : { variant }) };
}
