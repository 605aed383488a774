import type { KeyObject } from 'node:crypto';
import { edwardsKeyFlaw } from './edwards-point.ts';

/**
 * The largest public exponent of RSA. An exponent as long as the modulus makes each verification as expensive
 * as a signature; Go's crypto/rsa has the same bound.
 */
const largestExponent = 2n ** 31n - 1n;

/**
 * Returns why a public key must not be used, or undefined. The length of a key is checked where it is read.
 *
 * Anyone can make signatures for an RSA key whose exponent is 1: the padded digest itself. Node accepts them,
 * and Go refuses the key. An even exponent belongs to no RSA key.
 */
export function keyFlaw(key: KeyObject): string | undefined {
  if (key.asymmetricKeyType !== 'rsa' && key.asymmetricKeyType !== 'rsa-pss') return edwardsKeyFlaw(key);
  const { publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
  if (publicExponent === 1n) return 'its RSA exponent is 1, and anyone can make signatures for such a key';
  if (publicExponent % 2n === 0n) return 'its RSA exponent is even';
  return publicExponent > largestExponent ? 'its RSA exponent has more than 31 bits' : undefined;
}
