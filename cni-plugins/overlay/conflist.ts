import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { dropAbandonedWrites, makeFolder, writeFileAtomic } from '../../base/storage/index.ts';
import { familyOf } from './records/settings.ts';
import type { OverlaySettings } from './records/settings.ts';

/** The bridge that this host's pods are attached to. */
export const bridgeName = 'portcullis-ov';

/**
 * Returns the configuration of the overlay network: our bridge with this host's subnets. The bridge does not
 * masquerade; the overlay's own rule does that for packets that leave the network.
 */
function conflistOf(
  settings: Pick<OverlaySettings, 'name' | 'services'>,
  subnets: readonly string[],
  mtu: number,
): string {
  const document = {
    cniVersion: '1.0.0',
    name: settings.name,
    plugins: [
      {
        type: 'portcullis-bridge',
        bridge: bridgeName,
        isDefaultGateway: true,
        // Where bridges pass packets to the firewall (bridge-nf-call-iptables), a member of a service reaches
        // itself only this way.
        hairpinMode: true,
        ipMasq: false,
        mtu,
        ipam: {
          type: 'portcullis-ipam',
          ranges: subnets.toSorted((a, b) => familyOf(a) - familyOf(b)).map((subnet) => [{ subnet }]),
        },
        capabilities: { aliases: true, ips: true, mac: true, services: true },
        ...settings.services,
      },
      { type: 'portcullis-portmap', capabilities: { portMappings: true } },
    ],
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

/**
 * Writes the configuration if it differs, atomically, so that readers never see half of it. @returns its path
 * @throws the error of `confDirAnswers`
 */
export async function writeConflist(
  settings: Pick<OverlaySettings, 'name' | 'confDir' | 'confDirAnswers' | 'order' | 'services'>,
  subnets: readonly string[],
  mtu: number,
): Promise<string> {
  const path = pathOf(settings);
  const text = conflistOf(settings, subnets, mtu);
  await settings.confDirAnswers?.();
  try {
    if (readFileSync(path, 'utf8') === text) return path;
  } catch {
    // There is no file yet.
  }
  await makeFolder(settings.confDir, 0o755);
  await dropAbandonedWrites(path);
  await writeFileAtomic(path, text, { mode: 0o644 });
  return path;
}

export async function removeConflist(
  settings: Pick<OverlaySettings, 'name' | 'confDir' | 'confDirAnswers' | 'order'>,
): Promise<void> {
  await settings.confDirAnswers?.();
  rmSync(pathOf(settings), { force: true });
}

const pathOf = ({ name, confDir, order }: Pick<OverlaySettings, 'name' | 'confDir' | 'order'>): string =>
  join(confDir, `${order}-${name}.conflist`);
