/** How a host is verified, and under which name. Connections with different identities are never shared. */
export interface TlsIdentity {
  /** A digest of all other fields. */
  readonly id: string;
  /** PEM certificates of authorities, in addition to the system's unless `only` is set. */
  readonly ca?: readonly string[];
  readonly only?: boolean;
  readonly cert?: string | readonly string[];
  readonly key?: string | readonly string[];
  /** The name that the certificate must have, if it is not the host's name. */
  readonly servername?: string;
}
