export {
  bitsOf,
  contains,
  formatIp,
  ipBytes,
  ipFromBytes,
  isMulticast,
  ipTextBytes,
  lastOf,
  networkOf,
  ownHost,
  parseIp,
  parsePrefix,
} from './address.ts';
export type { IpAddress, IpFamily, IpPrefix } from './address.ts';
