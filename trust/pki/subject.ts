import { BlockList, isIP } from 'node:net';
import type { SubjectNames } from '../x509/subject-names.ts';
import type { Certificate } from '../x509/certificate.ts';
import type { PkiRequirement } from '../requirements/types.ts';

/** Whether the certificate belongs to the subject that the policy names, or why not. Never throws. */
export function matchSubject(
  certificate: Certificate,
  { email, hostname }: PkiRequirement,
): { readonly signer: string } | { readonly problem: string } {
  const names = certificate.subjectAltNames;
  const of = (list: readonly string[]): string => list.join(', ').slice(0, 300) || 'nobody';
  if (email !== undefined && !names.emails.includes(email))
    return { problem: `it was made by ${of(names.emails)}, not by ${email}` };
  if (hostname !== undefined && !isNamed(names, hostname))
    return {
      problem: `its certificate is for ${of([...names.hosts, ...names.addresses.map(addressText)])}, not for the host ${hostname}`,
    };
  // All names together identify the signer: one certificate is one signer, whichever of its names a rule
  // uses.
  const all = [...names.emails, ...names.hosts, ...names.uris, ...names.addresses.map(addressText)];
  return { signer: `x509 ${[...new Set(all)].sort().join(' ')}` };
}

/**
 * Matches like Go's x509.Certificate.VerifyHostname: addresses by their bytes, names label by label, `*` for
 * the whole first label.
 */
function isNamed({ hosts, addresses }: SubjectNames, hostname: string): boolean {
  const address = /^\[(.+)\]$/.exec(hostname)?.[1] ?? hostname;
  const family = isIP(address);
  if (family !== 0) return addresses.some((one) => isSameAddress(one, address, family));
  const wanted = hostname.toLowerCase();
  const plain = wanted.replace(/\.$/, '');
  return hosts.some((host) => {
    const name = host.toLowerCase();
    if (!isHostname(plain, false) || !isHostname(name, true))
      return name === wanted && name !== '' && name !== '.';
    const labels = plain.split('.');
    const pattern = name.split('.');
    return (
      pattern.length === labels.length &&
      pattern.every((label, at) => (at === 0 && label === '*') || label === labels[at])
    );
  });
}

function isHostname(name: string, pattern: boolean): boolean {
  return (
    name !== '*' &&
    name
      .split('.')
      .every((label, at) => /^[a-z0-9_][a-z0-9_-]*$/.test(label) || (pattern && at === 0 && label === '*'))
  );
}

function isSameAddress(bytes: Buffer, address: string, family: number): boolean {
  const list = new BlockList();
  list.addAddress(address, family === 4 ? 'ipv4' : 'ipv6');
  return list.check(addressText(bytes), bytes.length === 4 ? 'ipv4' : 'ipv6');
}

function addressText(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.');
  return Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(at * 2).toString(16)).join(':');
}
