import { createHash } from 'node:crypto';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { identityCertificate } from '../signers/signer.ts';
import type { Signer } from '../signers/signer.ts';
import { witnessFailure } from '../signers/witness.ts';
import type { Bundle, LogEntry } from '../sigstore/bundle.ts';
import { bodyFlaw } from '../sigstore/log-body.ts';
import type { LoggedSigner, SignedMessage } from '../sigstore/log-body.ts';
import { inclusionFlaw } from '../sigstore/log-entry.ts';
import { readCertificate } from '../x509/certificate.ts';
import { readTimeStamp } from '../x509/time-stamp.ts';

/** A signature as a verifier reads it back, with the answers of the services. */
export interface ReadBack {
  readonly bundle: Bundle;
  readonly message: SignedMessage;
}

/**
 * Refuses a signature that no verifier can accept because of an answer of a log or of a timestamp authority:
 * an answer that is not readable, that is for another signature, or of a time at which the certificate is not
 * valid. The keys of the services are not known here, so their own signatures are not verified.
 * @param readBack may throw an Error: the answers are not readable
 * @throws PortcullisError `TRUST_WITNESS_FAILED`
 */
export function checkAnswers(signer: Signer, readBack: () => ReadBack): void {
  const { logs, timestamps } = signer.witnesses;
  const urls = [...logs.map(({ url }) => url), ...timestamps];
  if (urls.length === 0) return;
  let read: ReadBack;
  try {
    read = readBack();
  } catch (error) {
    if (isPortcullisError(error)) throw error;
    throw witnessFailure(urls.join(', '), `an answer cannot be used: ${reasonOf(error)}`);
  }
  const { bundle, message } = read;
  const { logEntries, timeStamps } = bundle;
  const [certificate] = bundle.certificates.map(readCertificate);
  const identity = identityCertificate(signer);
  const logged: LoggedSigner = {
    spki: certificate?.spki ?? Buffer.from(signer.public.spki, 'base64'),
    ...(identity === undefined ? {} : { certificate: identity }),
  };
  const refuse = (url: string | undefined, flaw: string): never => {
    throw witnessFailure(url ?? urls.join(', '), `its answer cannot be used: ${flaw}`);
  };
  const times: number[] = [];
  const checkTime = (url: string | undefined, time: number): void => {
    times.push(time);
    if (certificate === undefined || (certificate.notBefore <= time && time <= certificate.notAfter)) return;
    const [made, start, end] = [time, certificate.notBefore, certificate.notAfter].map((one) =>
      new Date(one).toISOString(),
    );
    refuse(url, `its time is ${made}, and the certificate is valid from ${start} to ${end}`);
  };
  for (const [index, entry] of logEntries.entries()) {
    const url = logs[index]?.url;
    const flaw = bodyFlaw(entry, bundle, message, logged) ?? entryFlaw(entry, bundle.version);
    if (flaw !== undefined) refuse(url, flaw);
    if (entry.promise !== undefined && entry.integratedTime > 0) checkTime(url, entry.integratedTime * 1000);
  }
  for (const [index, der] of timeStamps.entries()) {
    const stamp = timeOf(der, bundle);
    if ('flaw' in stamp) refuse(timestamps[index], stamp.flaw);
    else checkTime(timestamps[index], stamp.time);
  }
  if (identity !== undefined && times.length === 0)
    refuse(undefined, 'nothing in it proves when it was signed');
}

function entryFlaw({ proof, body }: LogEntry, version: Bundle['version']): string | undefined {
  if (proof !== undefined) return inclusionFlaw(proof, body);
  return version === 'legacy' ? undefined : 'it has no inclusion proof';
}

function timeOf(
  der: Buffer,
  { content, stamped }: Bundle,
): { readonly time: number } | { readonly flaw: string } {
  try {
    const { imprint, time } = readTimeStamp(der);
    const covers = (bytes: Buffer | undefined): boolean =>
      bytes !== undefined && createHash(imprint.digest).update(bytes).digest().equals(imprint.value);
    return covers(content.signature) || covers(stamped) ? { time } : { flaw: 'it is for another signature' };
  } catch (error) {
    return { flaw: reasonOf(error) };
  }
}
