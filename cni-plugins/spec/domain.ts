/**
 * The parent domain of all network zones. Each network has the zone NETWORK.portcullis.internal. `internal`
 * is reserved for private use (ICANN, 2024). Queries below it are never forwarded.
 */
export const namesDomain = 'portcullis.internal';

/** Returns the zone of a network, in lower case. */
export const zoneOf = (network: string): string => `${network.toLowerCase()}.${namesDomain}`;
