import { isPortcullisError } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { expect } from './expect.ts';

/** Returns the refusal of a call that a verdict must refuse. Any other outcome fails the step. */
export async function expectRefusal(call: () => Promise<unknown>): Promise<PortcullisError> {
  try {
    await call();
  } catch (thrown) {
    if (!isPortcullisError(thrown) || thrown.failure.prefix !== 'SignatureValidationFailed') throw thrown;
    return thrown;
  }
  expect(false, 'SignatureValidationFailed', 'the call succeeded');
}

/** Returns what the client sees of a refusal. */
export function refusalLines({ failure, code }: PortcullisError): readonly string[] {
  return [`${failure.prefix ?? ''} [${code}]`, ...failure.why.trim().split('\n')];
}

/** Shortens a digest: `sha256:0123456789ab`. */
export function shortDigest(digest: string): string {
  return digest.slice(0, 'sha256:'.length + 12);
}
