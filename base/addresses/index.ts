export {
  bitsOf,
  contains,
  formatIp,
  ipBytes,
  ipFromBytes,
  ipTextBytes,
  lastOf,
  networkOf,
  parseIp,
  parsePrefix,
} from './address.ts';
export type { IpAddress, IpFamily, IpPrefix } from './address.ts';
