/** Whom a host is believed by, and as whom it is asked. Connections with different ones are never shared. */
export interface TlsIdentity {
  /** A digest of everything in it. */
  readonly id: string;
  /** PEM: authorities, beside the system's unless `only` is set. */
  readonly ca?: readonly string[];
  readonly only?: boolean;
  readonly cert?: string | readonly string[];
  readonly key?: string | readonly string[];
  /** The name that the certificate must have, where it is not the host's. */
  readonly servername?: string;
}
