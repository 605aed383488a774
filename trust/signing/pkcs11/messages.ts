import type { Pkcs11Uri } from './uri.ts';

/** The requests to the process of a token, one at a time. */
export type Question =
  | { readonly kind: 'open'; readonly uri: Pkcs11Uri; readonly pin: Uint8Array }
  | {
      readonly kind: 'sign';
      readonly mechanism: number;
      readonly parameter?: Uint8Array;
      readonly data: Uint8Array;
    }
  | { readonly kind: 'close' };

/** The components of the key, as the token returns them. */
export interface TokenKey {
  readonly token: string;
  readonly type: 'rsa' | 'ec' | 'ed';
  readonly modulus?: Uint8Array;
  readonly publicExponent?: Uint8Array;
  readonly ecParams?: Uint8Array;
  readonly ecPoint?: Uint8Array;
  /** DER of the certificate stored with the key. */
  readonly certificate?: Uint8Array;
}

export type Answer =
  | { readonly key: TokenKey }
  | { readonly signature: Uint8Array }
  | { readonly done: true }
  | { readonly problem: string };
