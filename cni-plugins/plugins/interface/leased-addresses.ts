import { networkOf, parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import type { CniResult } from '../../spec/result.ts';
import type { LeasedAddress } from '../contract/contract.ts';

/** Returns the addresses that an address plugin gave. Entries that are not addresses are left out. */
export function leasedAddressesOf({ ips }: Pick<CniResult, 'ips'>): LeasedAddress[] {
  return ips.flatMap(({ address: text, gateway: via }) => {
    const address = parsePrefix(text);
    const gateway = via === undefined ? undefined : parseIp(via);
    if (address === undefined) return [];
    return [
      {
        address,
        subnet: { address: networkOf(address), length: address.length },
        ...(gateway === undefined ? {} : { gateway }),
      },
    ];
  });
}
