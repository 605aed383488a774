import { refuseSmallLink } from '../spec/ipv6-mtu.ts';
import type { DataPlane } from './data-plane/data-plane.ts';
import type { Own } from './data-plane/entries.ts';
import type { HostKeys } from './data-plane/keys.ts';
import { overhead } from './data-plane/links.ts';
import { macOf } from './memory.ts';
import type { HostRecord } from './records/records.ts';
import { familyOf, prefixText } from './records/settings.ts';
import type { OverlayNetwork, OverlaySettings } from './records/settings.ts';

/** This host as the overlay sees it: its record and its subnets. */
export interface ThisHost {
  readonly own: Own;
  /**
   * Reads the underlay and the keys again. @returns whether the record differs from the last one
   * @throws OVERLAY_UNDERLAY_MISSING · NETWORK_MTU_TOO_SMALL: the last record stays
   */
  describe(): boolean;
  takeSubnets(subnets: readonly string[]): void;
}

export interface ThisHostDeps {
  readonly settings: Pick<OverlaySettings, 'name' | 'underlay' | 'vxlanPort' | 'wireguardPort'>;
  readonly id: string;
  readonly networks: readonly OverlayNetwork[];
  readonly dataPlane: Pick<DataPlane, 'underlay'>;
  /** Absent: nothing is encrypted. */
  readonly hostKeys: HostKeys | undefined;
}

/** @param subnets last known @throws OVERLAY_UNDERLAY_MISSING · NETWORK_MTU_TOO_SMALL */
export function createThisHost(deps: ThisHostDeps, subnets: readonly string[]): ThisHost {
  let own: Own = { record: recordOf(deps), subnets, networks: deps.networks };
  return {
    get own() {
      return own;
    },
    describe() {
      const record = recordOf(deps);
      if (JSON.stringify(record) === JSON.stringify(own.record)) return false;
      own = { ...own, record };
      return true;
    },
    takeSubnets(taken) {
      own = { ...own, subnets: taken };
    },
  };
}

function recordOf({ settings, id, networks, dataPlane, hostKeys }: ThisHostDeps): HostRecord {
  const { address, mtu } = dataPlane.underlay(settings.underlay);
  const before = overhead[hostKeys === undefined ? 'vxlan' : 'wireguard'][familyOf(address)];
  // The kernel would refuse the host's own address on the link, and with it every route, also of IPv4.
  const prefixes = networks.map(({ prefix }) => prefixText(prefix));
  refuseSmallLink(settings.underlay, mtu, before, prefixes);
  const said = { id, underlay: address, mtu: mtu - before };
  if (hostKeys === undefined)
    return { ...said, vxlan: { mac: macOf(id, settings.name), port: settings.vxlanPort } };
  const { current, next } = hostKeys;
  return {
    ...said,
    wireguard: { publicKey: current.publicKey, nextKey: next.publicKey, port: settings.wireguardPort },
  };
}
