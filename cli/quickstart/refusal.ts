import { isPortcullisError } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { expect } from './expect.ts';

/** The refusal of a call that must be refused by a verdict; anything else breaks the step. */
export async function expectRefusal(call: () => Promise<unknown>): Promise<PortcullisError> {
  try {
    await call();
  } catch (thrown) {
    if (!isPortcullisError(thrown) || thrown.failure.prefix !== 'SignatureValidationFailed') throw thrown;
    return thrown;
  }
  expect(false, 'SignatureValidationFailed', 'the call succeeded');
}

/** What the client is told. */
export function tellRefusal({ failure, code }: PortcullisError): readonly string[] {
  return [`${failure.prefix ?? ''} [${code}]`, ...failure.why.trim().split('\n')];
}

/** `sha256:0123456789ab`. */
export function shortDigest(digest: string): string {
  return digest.slice(0, 'sha256:'.length + 12);
}
