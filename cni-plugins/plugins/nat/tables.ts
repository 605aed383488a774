import type { Request, Table } from '../../../base/netlink/index.ts';
import type { IpFamily } from '../../../base/addresses/index.ts';

/** The plugins' tables of address translation, one for each family. */
export const tableOf = (family: IpFamily): Table => ({
  family: family === 4 ? 'ip' : 'ip6',
  name: 'portcullis_plugins',
});

/** A chain that several pods share, and the requests that create it, whether or not it exists. */
export interface SharedChain {
  readonly name: string;
  /** Number of its rules. */
  readonly rules: number;
  readonly requests: readonly Request[];
}
