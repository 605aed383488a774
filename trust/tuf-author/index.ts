/**
 * The owner of a collection of signed metadata: for programs that publish tags, delegations or policies.
 */
export { openOwner } from './owner.ts';
export type { KeysNamed, Owner } from './owner.types.ts';
export type { DelegationScope, Dialect as TufDialect } from '../tuf-metadata/model.ts';
