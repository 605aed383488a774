import { bindTcp, bindUdp, closeFd } from '../../base/kernel/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import { ipBytes, parseIp } from '../spec/address.ts';
import type { TakenPort } from './host-ports.ts';

/**
 * Whether a program listens at a host port in the network namespace of the calling thread. Published all the same, the port would be taken from the
 * program without a word; docker's own driver refuses it as well. Synchronous: asked by a bind that ends at once.
 */
export function isListenedAt({ protocol, port, hostIp }: TakenPort): boolean {
  if (protocol === 'sctp') return false;
  return (hostIp === '' ? ['0.0.0.0', '::'] : [hostIp]).some((text) => {
    const address = parseIp(text);
    if (address === undefined) return false;
    const end = { address: ipBytes(address), port };
    try {
      closeFd(protocol === 'tcp' ? bindTcp(end) : bindUdp(end, 0));
      return false;
    } catch (thrown) {
      // An address that the host does not have, or a family: nobody listens there.
      return isPortcullisError(thrown) && thrown.code === 'KERNEL_EADDRINUSE';
    }
  });
}
