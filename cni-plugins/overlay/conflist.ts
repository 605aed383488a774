import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { dropAbandonedWrites, makeFolder, writeFileAtomic } from '../../base/storage/index.ts';
import { familyOf } from './settings.ts';
import type { OverlaySettings } from './settings.ts';

/** The bridge that the pods of this host are ports of. */
export const bridgeName = 'portcullis-ov';

/**
 * The network of the conf folder whose pods other hosts reach: our bridge with this host's subnets. Nothing is masqueraded by the bridge: what leaves the
 * network is by the overlay's own rule.
 */
function conflistOf(settings: Pick<OverlaySettings, 'name' | 'services'>, subnets: readonly string[], mtu: number): string {
  const document = {
    cniVersion: '1.0.0',
    name: settings.name,
    plugins: [
      {
        type: 'portcullis-bridge',
        bridge: bridgeName,
        isDefaultGateway: true,
        // Where bridges pass packets to the firewall (bridge-nf-call-iptables), a member of a service reaches itself by nothing else.
        hairpinMode: true,
        ipMasq: false,
        mtu,
        ipam: { type: 'portcullis-ipam', ranges: subnets.toSorted((a, b) => familyOf(a) - familyOf(b)).map((subnet) => [{ subnet }]) },
        capabilities: { aliases: true, ips: true, mac: true, services: true },
        ...settings.services,
      },
      { type: 'portcullis-portmap', capabilities: { portMappings: true } },
    ],
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

/** Writes it where it is not so already; in one act, so that nobody reads half of it. @returns its path */
export async function writeConflist(
  settings: Pick<OverlaySettings, 'name' | 'confDir' | 'order' | 'services'>,
  subnets: readonly string[],
  mtu: number,
): Promise<string> {
  const path = pathOf(settings);
  const text = conflistOf(settings, subnets, mtu);
  try {
    if (readFileSync(path, 'utf8') === text) return path;
  } catch {
    // There is none yet.
  }
  await makeFolder(settings.confDir, 0o755);
  await dropAbandonedWrites(path);
  await writeFileAtomic(path, text, { mode: 0o644 });
  return path;
}

export const removeConflist = (settings: Pick<OverlaySettings, 'name' | 'confDir' | 'order'>): void =>
  rmSync(pathOf(settings), { force: true });

const pathOf = ({ name, confDir, order }: Pick<OverlaySettings, 'name' | 'confDir' | 'order'>): string =>
  join(confDir, `${order}-${name}.conflist`);
