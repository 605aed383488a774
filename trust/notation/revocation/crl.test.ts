import assert from 'node:assert/strict';
import { createPrivateKey, sign } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { readCertificate } from '../../x509/certificate.ts';
import type { Certificate } from '../../x509/certificate.ts';
import { contextTag, derTag } from '../../x509/der.ts';
import { der, integer, oid } from '../../x509/der-writer.ts';
import { extensionOid } from '../../x509/extensions.ts';
import { chainOf, createAuthority, rootExtensions, signerExtensions } from '../fixtures/authority.ts';
import { deltaUrls, judgeCrl } from './crl.ts';

const deltaUrl = 'http://127.0.0.1:1/delta.crl';
const ownUrl = 'http://127.0.0.1:1/own.crl';
const hour = 3600 * 1000;

/** Lists that openssl does not create: with numbers, deltas and scopes. */
describe('revocation lists', () => {
  const folder = mkdtempSync(join(tmpdir(), 'notation-crl-'));
  let leaf: Certificate;
  let root: Certificate;
  let key = '';

  before(() => {
    const authority = createAuthority(folder);
    const issuer = authority.issue('root', { extensions: rootExtensions });
    const [first, second] = chainOf(
      authority.issue('leaf', {
        extensions: [...signerExtensions, `crlDistributionPoints=URI:${ownUrl}`],
        by: issuer,
      }),
      issuer,
    );
    leaf = readCertificate(first ?? Buffer.alloc(0));
    root = readCertificate(second ?? Buffer.alloc(0));
    key = readFileSync(issuer.key, 'utf8');
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const extension = (name: string, value: Buffer, critical = false): Buffer =>
    der(
      derTag.sequence,
      oid(name),
      ...(critical ? [der(derTag.boolean, Buffer.from([0xff]))] : []),
      der(derTag.octetString, value),
    );
  const time = (at: number): Buffer =>
    der(
      derTag.utcTime,
      Buffer.from(
        new Date(at)
          .toISOString()
          .replace(/[-:T]|\.\d+/g, '')
          .slice(2),
      ),
    );
  const number = (value: number): Buffer => integer(Buffer.from([value]));
  const freshest = (): Buffer => {
    const name = der(contextTag(0, 'constructed'), der(contextTag(6, 'primitive'), Buffer.from(deltaUrl)));
    return extension(
      extensionOid.freshestCrl,
      der(derTag.sequence, der(derTag.sequence, der(contextTag(0, 'constructed'), name))),
    );
  };
  const entry = (reason: number, at = Date.now() - hour): Buffer =>
    der(
      derTag.sequence,
      integer(leaf.serial),
      time(at),
      der(derTag.sequence, extension(extensionOid.reasonCode, der(derTag.enumerated, Buffer.from([reason])))),
    );
  const list = (
    extensions: readonly Buffer[],
    entries: readonly Buffer[] = [],
    until: number | null = Date.now() + hour,
  ): Buffer => {
    const algorithm = der(derTag.sequence, oid('1.2.840.10045.4.3.2'));
    const body = der(
      derTag.sequence,
      number(1),
      algorithm,
      root.subject,
      time(Date.now() - hour),
      ...(until === null ? [] : [time(until)]),
      ...(entries.length === 0 ? [] : [der(derTag.sequence, ...entries)]),
      der(contextTag(0, 'constructed'), der(derTag.sequence, ...extensions)),
    );
    const signature = sign('sha256', body, createPrivateKey(key));
    return der(derTag.sequence, body, algorithm, der(derTag.bitString, Buffer.from([0]), signature));
  };
  const plain = [extension(extensionOid.crlNumber, integer(Buffer.from([5])))];
  const base = (entries: readonly Buffer[] = []): Buffer =>
    list([extension(extensionOid.crlNumber, number(5)), freshest()], entries);
  const delta = (
    own: number,
    since: number,
    entries: readonly Buffer[] = [],
    more: readonly Buffer[] = [],
  ): Buffer =>
    list(
      [
        ...more,
        extension(extensionOid.crlNumber, number(own)),
        extension(extensionOid.deltaCrlIndicator, number(since), true),
      ],
      entries,
    );
  const judged = (bytes: Buffer, changes?: Buffer): string =>
    judgeCrl(bytes, () => changes, { certificate: leaf, issuer: root, now: Date.now() }).status;

  for (const [name, judge, status] of [
    ['nothing revoked', () => judged(base(), delta(6, 5)), 'good'],
    ['revoked in the list', () => judged(base([entry(1)]), delta(6, 5)), 'revoked'],
    ['revoked in the changes', () => judged(base(), delta(6, 5, [entry(1)])), 'revoked'],
    ['held', () => judged(base([entry(6)]), delta(6, 5)), 'revoked'],
    [
      'held, and lifted by the changes',
      () => judged(base([entry(6, Date.now() - 2 * hour)]), delta(6, 5, [entry(8)])),
      'good',
    ],
    [
      'lifted before it was held',
      () => judged(base([entry(6)]), delta(6, 5, [entry(8, Date.now() - 2 * hour)])),
      'revoked',
    ],
    ['changes that are not available', () => judged(base()), 'unknown'],
    ['changes that are older than the list', () => judged(base(), delta(5, 5)), 'unknown'],
    ['changes to a later list', () => judged(base(), delta(7, 6)), 'unknown'],
    [
      'changes that are a whole list',
      () => judged(base(), list([extension(extensionOid.crlNumber, number(6))])),
      'unknown',
    ],
    ['changes alone', () => judged(delta(6, 5)), 'unknown'],
    ['no end', () => judged(list([extension(extensionOid.crlNumber, number(5))], [], null)), 'unknown'],
    [
      'ended',
      () => judged(list([extension(extensionOid.crlNumber, number(5))], [], Date.now() - 60_000)),
      'unknown',
    ],
    ['an unknown critical extension', () => judged(list([extension('1.2.3.4', number(1), true)])), 'unknown'],
    ['for authorities only', () => judged(list([scope(2)])), 'unknown'],
    ['for users only', () => judged(list([scope(1)])), 'good'],
    ['the part of its distribution point', () => judged(list([...plain, point(ownUrl)])), 'good'],
    ['the part of another distribution point', () => judged(list([...plain, point(deltaUrl)])), 'unknown'],
    [
      'changes for another distribution point',
      () => judged(base(), delta(6, 5, [], [point(deltaUrl)])),
      'unknown',
    ],
    [
      'a distribution point that is relative to the issuer',
      () => judged(list([point(ownUrl, 1)])),
      'unknown',
    ],
    ['indirect', () => judged(list([scope(4)])), 'unknown'],
    ['a scope of 01, which is not a boolean', () => judged(list([scope(1, 0x01)])), 'unknown'],
    [
      'a serial number that is revoked, with a byte too many',
      () => judged(list(plain, [padded()])),
      'unknown',
    ],
    [
      'a critical extension of another entry that is not understood',
      () => judged(list(plain, [foreign()])),
      'unknown',
    ],
    ['an entry of another certificate', () => judged(list(plain, [foreign(false)])), 'good'],
    ['bytes after the list', () => judged(Buffer.concat([list(plain), Buffer.from([5, 0])])), 'unknown'],
    ['an extension twice', () => judged(list([...plain, ...plain])), 'unknown'],
  ] as const)
    it(`${name}: ${status}`, () => assert.equal(judge(), status));

  it('a delta is requested only where a list says so that the issuer has signed', () => {
    const signed = base();
    assert.deepEqual(deltaUrls(signed, root), [deltaUrl]);
    const address = signed.indexOf(deltaUrl);
    const changed = Buffer.from(signed);
    changed[address + deltaUrl.length - 1] = 0x40;
    assert.deepEqual(deltaUrls(changed, root), []);
  });

  function padded(): Buffer {
    return der(derTag.sequence, der(derTag.integer, Buffer.alloc(1), leaf.serial), time(Date.now() - hour));
  }

  function foreign(critical = true): Buffer {
    const unknown = extension('1.2.3.4', integer(Buffer.from([1])), critical);
    return der(
      derTag.sequence,
      integer(Buffer.from([1, 2, 3])),
      time(Date.now() - hour),
      der(derTag.sequence, unknown),
    );
  }

  function point(url: string, kind = 0): Buffer {
    const uri = der(contextTag(6, 'primitive'), Buffer.from(url));
    const name = der(contextTag(0, 'constructed'), der(contextTag(kind, 'constructed'), uri));
    return extension(extensionOid.issuingDistributionPoint, der(derTag.sequence, name), true);
  }

  function scope(part: number, says = 0xff): Buffer {
    const value = der(derTag.sequence, der(contextTag(part, 'primitive'), Buffer.from([says])));
    return extension(extensionOid.issuingDistributionPoint, value, true);
  }
});
