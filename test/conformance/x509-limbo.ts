/**
 * `npm run test:x509-limbo`: validates the paths of x509-limbo, a public collection that includes BetterTLS,
 * and compares each result with the expected one.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import ipaddr from 'ipaddr.js';
import { parseJson } from '../../base/json/index.ts';
import type { Certificate } from '../../trust/x509/certificate.ts';
import { findPath } from '../../trust/x509/path.ts';
import { certificatesOfPem } from '../../trust/x509/pem.ts';
import { peers } from './endpoint.ts';

/** C2SP/x509-limbo; X509_LIMBO names an existing limbo.json. */
const source = 'https://github.com/C2SP/x509-limbo';
const commit = '8a2e6f41023b1716dc16fe63335e4bb972e4c3f6';
const serverAuth = '1.3.6.1.5.5.7.3.1';

interface TestCase {
  readonly id: string;
  readonly validation_kind: 'SERVER' | 'CLIENT';
  readonly trusted_certs: readonly string[];
  readonly untrusted_intermediates: readonly string[];
  readonly peer_certificate: string;
  readonly validation_time: string | null;
  readonly expected_result: 'SUCCESS' | 'FAILURE';
  readonly expected_peer_name: { readonly kind: string; readonly value: string } | null;
}

/** Results that differ from the expected ones, with the reasons. */
const explained: readonly (readonly [reason: string, ...ids: readonly RegExp[]])[] = [
  ['revocation lists are evaluated by trust/notation/revocation', /^crl::/],
  ['no caller limits the length of a path further', /^pathlen::max-chain-depth-[01]-exhausted$/],
  [
    'RFC 5280 requires it of authorities that issue certificates, not of those who verify them',
    /^rfc5280::aki::(?:critical-aki|(?:leaf|intermediate|cross-signed-root)-missing-aki)$/,
    /^rfc5280::ski::(?:critical-ski|(?:root|intermediate)-missing-ski)$/,
    /^rfc5280::nc::(?:permitted-dns-match-noncritical|not-allowed-in-ee-(?:non)?critical)$/,
    /^rfc5280::(?:pc::ica-noncritical-pc|san::(?:noncritical-with-empty-subject|underscore-dns))$/,
    /^rfc5280::(?:serial::zero|ca-empty-subject|root-non-critical-basic-constraints|leaf-ku-keycertsign)$/,
  ],
  [
    'a leading dot covers the hosts below, as for OpenSSL and Go',
    /^rfc5280::nc::invalid-dnsname-leading-period$/,
  ],
  [
    'a constraint on a form of name that is not compared is refused',
    /^rfc5280::nc::nc-forbids-othername-noop$/,
  ],
  ['a certificate has expired at the first moment after its end', /^rfc5280::validity::notafter-fractional$/],
  [
    'a certificate that cannot be read is refused, also where the path does not need it',
    /^rfc5280::unknown-critical-extension-unrelated-(?:root|intermediate)$/,
  ],
  [
    'a rule of the CA/Browser Forum for the certificates of web servers',
    /^webpki::aki::root-with-aki-/,
    /^webpki::cn::/,
    /^webpki::eku::(?:ee-anyeku|ee-critical-eku|ee-without-eku|root-has-eku)$/,
    /^webpki::san::(?:public-suffix-.*-wildcard-san|san-critical-with-nonempty-subject)$/,
    /^webpki::forbidden-rsa-(?:key-)?not-divisible-by-8-in-(?:root|leaf)$/,
    /^webpki::(?:ee-basicconstraints-ca|ca-as-leaf)$/,
  ],
];

function prepare(): string {
  const named = process.env['X509_LIMBO'];
  if (named !== undefined) return named;
  const folder = join(peers, 'x509-limbo');
  if (!existsSync(folder)) {
    // A fetch that fails must leave nothing that looks like the collection.
    const partial = `${folder}.partial`;
    mkdirSync(peers, { recursive: true });
    for (const args of [
      ['init', '-q', partial],
      ['-C', partial, 'fetch', '-q', '--depth', '1', source, commit],
      ['-C', partial, 'checkout', '-q', commit],
    ])
      if (spawnSync('git', args, { stdio: 'inherit' }).status !== 0)
        throw new Error(`git ${args.join(' ')} failed`);
    renameSync(partial, folder);
  }
  return join(folder, 'limbo.json');
}

/** Whether a certificate has the name of a server (RFC 9525). Product code compares no such names. */
function isNamed({ subjectAltNames: names }: Certificate, peer: TestCase['expected_peer_name']): boolean {
  if (peer === null) return true;
  if (peer.kind === 'IP') {
    const address = Buffer.from(ipaddr.parse(peer.value).toByteArray());
    return names.addresses.some((name) => name.equals(address));
  }
  if (peer.kind !== 'DNS') return names.emails.includes(peer.value);
  const host = peer.value.toLowerCase();
  return names.hosts.some((text) => {
    const name = text.toLowerCase();
    const isWildcard = name.startsWith('*.') && name.slice(2).includes('.');
    return name === host || (isWildcard && host.slice(host.indexOf('.')) === name.slice(1));
  });
}

/** Returns why the certificate is refused; undefined if it is accepted. */
function refusal(test: TestCase): string | undefined {
  try {
    const read = (list: readonly string[]): Certificate[] =>
      list.flatMap((pem) => [...certificatesOfPem(pem)]);
    const [leaf] = read([test.peer_certificate]);
    if (leaf === undefined) return 'there is no certificate';
    const at = { anchors: read(test.trusted_certs), intermediates: read(test.untrusted_intermediates) };
    const time = test.validation_time === null ? Date.now() : Date.parse(test.validation_time);
    const purpose = test.validation_kind === 'SERVER' ? serverAuth : undefined;
    const found = findPath(leaf, at, [time], purpose);
    if ('problem' in found) return found.problem;
    const uses = leaf.extendedKeyUsage;
    if (purpose !== undefined && uses?.some((use) => use === purpose || use === '2.5.29.37.0') === false)
      return 'the certificate is for another use';
    return isNamed(leaf, test.expected_peer_name) ? undefined : 'the certificate has another name';
  } catch (error) {
    return (error as Error).message;
  }
}

try {
  const { testcases } = parseJson(readFileSync(prepare(), 'utf8')) as {
    readonly testcases: readonly TestCase[];
  };
  let [equal, known, unknown] = [0, 0, 0];
  for (const test of testcases) {
    const why = refusal(test);
    if ((why === undefined) === (test.expected_result === 'SUCCESS')) equal += 1;
    else if (explained.some(([, ...ids]) => ids.some((id) => id.test(test.id)))) known += 1;
    else {
      unknown += 1;
      console.log(`${test.id}: ${why === undefined ? 'accepted' : `refused, because ${why}`}`);
    }
  }
  console.log(`${equal} as expected, ${known} differences explained, ${unknown} not explained`);
  process.exitCode = unknown === 0 && equal > 0 ? 0 : 1;
} catch (error) {
  console.error(`x509-limbo: ${(error as Error).message}`);
  process.exitCode = 4;
}
