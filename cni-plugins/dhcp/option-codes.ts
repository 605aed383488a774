/** Numbers of DHCP options (RFC 2132, RFC 3397, RFC 3442). */
export const optionCodes = {
  pad: 0,
  subnetMask: 1,
  routers: 3,
  nameServers: 6,
  hostName: 12,
  domainName: 15,
  staticRoutes: 33,
  requestedAddress: 50,
  leaseTime: 51,
  overload: 52,
  messageType: 53,
  server: 54,
  requestedOptions: 55,
  message: 56,
  maximumSize: 57,
  renewalTime: 58,
  rebindingTime: 59,
  vendorClass: 60,
  clientId: 61,
  userClass: 77,
  searchList: 119,
  classlessRoutes: 121,
  end: 255,
} as const;

/** Values of the option `messageType` (RFC 2132, section 9.6). */
export const messageTypes = {
  discover: 1,
  offer: 2,
  request: 3,
  ack: 5,
  nak: 6,
  release: 7,
} as const;
