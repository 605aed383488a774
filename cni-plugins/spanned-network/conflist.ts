import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { dropAbandonedWrites, makeFolder, writeFileAtomic } from '../../base/storage/index.ts';

/** This host's part of a network that spans hosts, and where its configuration is written. */
export interface SpannedNetwork {
  readonly name: string;
  /** The bridge that this host's pods are attached to. */
  readonly bridge: string;
  readonly confDir: string;
  /**
   * Rejects if the file system of that folder does not answer, because a thread that touches it would then
   * block forever. Absent: it is not checked.
   */
  readonly confDirAnswers?: () => Promise<void>;
  /** Prefix of the file's name: files are read in order of their names. */
  readonly order: string;
  /**
   * The resources of this host that services of the network may use, in the form of a conflist's first
   * plugin.
   */
  readonly services?: Readonly<Record<string, unknown>>;
}

/**
 * Returns the configuration of the network: our bridge with this host's subnets. The bridge does not
 * masquerade; a rule of the network does that for packets that leave it (`masquerade.ts`).
 */
function conflistOf(
  { name, bridge, services }: Pick<SpannedNetwork, 'name' | 'bridge' | 'services'>,
  subnets: readonly string[],
  mtu: number,
): string {
  const document = {
    cniVersion: '1.0.0',
    name,
    plugins: [
      {
        type: 'portcullis-bridge',
        bridge,
        isDefaultGateway: true,
        // Where bridges pass packets to the firewall (bridge-nf-call-iptables), a member of a service reaches
        // itself only this way.
        hairpinMode: true,
        ipMasq: false,
        mtu,
        ipam: {
          type: 'portcullis-ipam',
          ranges: subnets
            .toSorted((a, b) => Number(a.includes(':')) - Number(b.includes(':')))
            .map((subnet) => [{ subnet }]),
        },
        capabilities: { aliases: true, ips: true, mac: true, services: true },
        ...services,
      },
      { type: 'portcullis-portmap', capabilities: { portMappings: true } },
    ],
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

/**
 * Writes the configuration if it differs, atomically, so that readers never see half of it.
 * @param subnets of this host, in CIDR form
 * @param mtu of the pods' interfaces
 * @returns its path
 * @throws the error of `confDirAnswers`; STORAGE_…
 */
export async function writeConflist(
  network: SpannedNetwork,
  subnets: readonly string[],
  mtu: number,
): Promise<string> {
  const path = conflistPath(network);
  const text = conflistOf(network, subnets, mtu);
  await network.confDirAnswers?.();
  try {
    if (readFileSync(path, 'utf8') === text) return path;
  } catch {
    // There is no file yet.
  }
  await makeFolder(network.confDir, 0o755);
  await dropAbandonedWrites(path);
  await writeFileAtomic(path, text, { mode: 0o644 });
  return path;
}

export async function removeConflist(
  network: Pick<SpannedNetwork, 'name' | 'confDir' | 'confDirAnswers' | 'order'>,
): Promise<void> {
  await removeConflistAt(conflistPath(network), network.confDirAnswers);
}

/** Removes a configuration that may have been written with another name. */
export async function removeConflistAt(
  path: string,
  confDirAnswers: SpannedNetwork['confDirAnswers'],
): Promise<void> {
  await confDirAnswers?.();
  rmSync(path, { force: true });
}

export const conflistPath = ({
  name,
  confDir,
  order,
}: Pick<SpannedNetwork, 'name' | 'confDir' | 'order'>): string => join(confDir, `${order}-${name}.conflist`);
