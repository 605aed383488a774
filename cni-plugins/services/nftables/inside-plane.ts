/** How the table distinguishes the inside plane of a server from its other plane. */

/** Leads a connection from inside the node to the inside plane of its server. Ignores other connections. */
export const insideChain = 'inside';

/** The bit of the protocol in the keys of inside planes. No protocol of a server has it: 6, 17, 132. */
export const insideBit = 0x40;
