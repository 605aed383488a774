/** Under it every network has a zone of its own, NETWORK.portcullis.internal: `internal` is reserved for private use (ICANN, 2024). Never forwarded. */
export const namesDomain = 'portcullis.internal';

/** The zone of a network, in lower case. */
export const zoneOf = (network: string): string => `${network.toLowerCase()}.${namesDomain}`;
