export {
  bitsOf,
  canonicalIp,
  canonicalPrefix,
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
  parseIpOrMapped,
  parsePrefix,
  withoutLeadingZeros,
} from './address.ts';
export type { IpAddress, IpFamily, IpPrefix } from './address.ts';
