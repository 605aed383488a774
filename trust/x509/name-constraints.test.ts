import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openEnvelope } from '../notation/envelope.ts';
import { readCertificate } from './certificate.ts';
import { derTag } from './der.ts';
import { bits, der, oid, sequence, whole } from './der-writer.ts';
import {
  attribute,
  authorityExtensions,
  buildCertificate,
  extension,
  nameOf,
  signerExtensions,
  yes,
} from './fixtures/build-certificate.ts';
import type { Built } from './fixtures/build-certificate.ts';
import { coseOf, jwsOf } from './fixtures/carry-certificates.ts';
import { findPath } from './path.ts';

const codeSigning = '1.3.6.1.5.5.7.3.3';
const email = (text: string): Buffer => der(0x81, Buffer.from(text));
const host = (text: string): Buffer => der(0x82, Buffer.from(text));
const uri = (text: string): Buffer => der(0x86, Buffer.from(text));
const address = (hex: string): Buffer => der(0x87, Buffer.from(hex, 'hex'));
const directory = (name: Buffer): Buffer => der(0xa4, name);
const smtpUtf8 = der(
  0xa0,
  oid('1.3.6.1.5.5.7.8.9'),
  der(0xa0, der(derTag.utf8String, Buffer.from('ä@example.com'))),
);

const trees = (...bases: readonly Buffer[]): Buffer[] => bases.map((base) => sequence(base));
const only = (...bases: readonly Buffer[]): Buffer =>
  extension('2.5.29.30', sequence(der(0xa0, ...trees(...bases))), true);
const never = (...bases: readonly Buffer[]): Buffer =>
  extension('2.5.29.30', sequence(der(0xa1, ...trees(...bases))), true);

const us = attribute('2.5.4.6', 'US', derTag.printableString);
const org = (text: string, tag?: number): Buffer => attribute('2.5.4.10', text, tag);
const example = sequence(us, attribute('2.5.4.8', 'WA'), org('example.com'));

interface Row {
  readonly what: string;
  readonly constraints: Buffer;
  /** The leaf's other names, and its subject. */
  readonly names?: readonly Buffer[];
  readonly subject?: Buffer;
  readonly inside: boolean;
}

const row = (
  what: string,
  constraints: Buffer,
  names: readonly Buffer[],
  inside: boolean,
  subject?: Buffer,
): Row => ({
  what,
  constraints,
  names,
  inside,
  ...(subject === undefined ? {} : { subject }),
});

const rows: readonly Row[] = [
  // dNSName
  row('a host below the permitted one', only(host('example.com')), [host('a.example.com')], true),
  row('the permitted host', only(host('example.com')), [host('EXAMPLE.com')], true),
  row('a host beside the permitted one', only(host('example.com')), [host('badexample.com')], false),
  row(
    'one host of two outside',
    only(host('example.com')),
    [host('a.example.com'), host('evil.test')],
    false,
  ),
  row('a host below the excluded one', never(host('example.com')), [host('a.EXAMPLE.com')], false),
  row(
    'a host with a dot at its end below the excluded one',
    never(host('example.com')),
    [host('a.example.com.')],
    false,
  ),
  row(
    'a wildcard that reaches the excluded host',
    never(host('secret.example.com')),
    [host('*.example.com')],
    false,
  ),
  row(
    'a name that is not a host, under an exclusion of hosts',
    never(host('example.com')),
    [host('a b.example.net')],
    false,
  ),
  row('another host than the excluded one', never(host('example.com')), [host('example.org')], true),
  row('every host excluded', never(host('')), [host('a.test')], false),
  row('a form of name without constraints', only(host('example.com')), [email('a@evil.test')], true),
  // rfc822Name
  row('a mailbox at the permitted host', only(email('example.com')), [email('a@example.com')], true),
  row(
    'a mailbox below the permitted host, without a leading dot',
    only(email('example.com')),
    [email('a@b.example.com')],
    false,
  ),
  row(
    'a mailbox below the permitted host, with a leading dot',
    only(email('.example.com')),
    [email('a@b.example.com')],
    true,
  ),
  row('the permitted mailbox', only(email('a@example.com')), [email('a@EXAMPLE.com')], true),
  row(
    'another mailbox than the permitted one',
    only(email('a@example.com')),
    [email('b@example.com')],
    false,
  ),
  row('a mailbox with two signs @', only(email('example.com')), [email('a@b@example.com')], false),
  row('a mailbox with a space', only(email('example.com')), [email('a b@example.com')], false),
  row('a mailbox in quotes', only(email('example.com')), [email('"a@b"@example.com')], true),
  row('a mailbox below the excluded host', never(email('example.com')), [email('a@b.example.com')], false),
  row('the excluded mailbox in quotes', never(email('a@example.com')), [email('"a"@example.com')], false),
  row(
    'no mailbox, under an exclusion of mailboxes',
    never(email('example.com')),
    [email('example.net')],
    false,
  ),
  row(
    'a mailbox at an address, under an exclusion of mailboxes',
    never(email('example.com')),
    [email('a@[192.0.2.1]')],
    false,
  ),
  row(
    'an address in the subject outside the permitted host',
    only(email('example.com')),
    [],
    false,
    nameOf('x', attribute('1.2.840.113549.1.9.1', 'a@evil.test', derTag.ia5String)),
  ),
  row(
    'an address in the subject at the permitted host',
    only(email('example.com')),
    [],
    true,
    nameOf('x', attribute('1.2.840.113549.1.9.1', 'a@example.com', derTag.ia5String)),
  ),
  row(
    'an internationalised mailbox under constraints of mailboxes',
    only(email('example.com')),
    [smtpUtf8],
    false,
  ),
  // uniformResourceIdentifier
  row(
    'a URI at the permitted host',
    only(uri('example.com')),
    [uri('https://user@example.com:8443/a')],
    true,
  ),
  row(
    'a URI below the permitted host, without a leading dot',
    only(uri('example.com')),
    [uri('https://a.example.com/')],
    false,
  ),
  row(
    'a URI at the excluded host, in other letters',
    never(uri('example.com')),
    [uri('https://EXAMPLE.com/')],
    false,
  ),
  row(
    'a URI at the excluded host, in percent encoding',
    never(uri('example.com')),
    [uri('https://ex%61mple.com/')],
    false,
  ),
  row(
    'a URI at the excluded host after a user that looks like a host',
    never(uri('example.com')),
    [uri('https://good.test@example.com/')],
    false,
  ),
  row('a URI without a host, under an exclusion', never(uri('example.com')), [uri('urn:a')], false),
  row('a URI without a host, where some are permitted', only(uri('example.com')), [uri('urn:a')], false),
  // iPAddress
  row('an address of the permitted network', only(address('c0000200ffffff00')), [address('c0000207')], true),
  row(
    'an address outside the permitted network',
    only(address('c0000200ffffff00')),
    [address('c0000307')],
    false,
  ),
  row('an address of the excluded network', never(address('c0000200ffffff00')), [address('c0000207')], false),
  row(
    'an address of the excluded network, written as IPv6',
    never(address('c0000200ffffff00')),
    [address('00000000000000000000ffffc0000207')],
    false,
  ),
  row(
    'an IPv6 address where IPv4 ones are permitted',
    only(address('c0000200ffffff00')),
    [address('20010db8000000000000000000000001')],
    false,
  ),
  row('a network whose mask has a gap', only(address('c0000200ff00ff00')), [address('c0000207')], false),
  // directoryName
  row('a subject below the permitted name', only(directory(example)), [], true),
  row(
    'a subject below the permitted name, in other letters and blanks',
    only(directory(sequence(us, attribute('2.5.4.8', 'wa'), org('EXAMPLE.com ', derTag.printableString)))),
    [],
    true,
  ),
  row('a subject outside the permitted name', only(directory(sequence(us, org('evil.test')))), [], false),
  row('a subject below the excluded name', never(directory(example)), [], false),
  row(
    'a subject below the excluded name, in another string type',
    never(directory(sequence(us, attribute('2.5.4.8', '\0W\0A', derTag.bmpString)))),
    [],
    false,
  ),
  row(
    'another directory name of the subject below the excluded name',
    never(directory(sequence(us, org('evil.test')))),
    [directory(sequence(us, org('evil.test'), attribute('2.5.4.3', 'x')))],
    false,
  ),
  // names and constraints that cannot be evaluated
  row('a subtree of a form that is not known', only(der(0x88, Buffer.from([0x2a]))), [], false),
  row(
    'a subtree with a minimum',
    extension('2.5.29.30', sequence(der(0xa0, sequence(host('a.test'), der(0x80, Buffer.from([1]))))), true),
    [],
    false,
  ),
  row('constraints of nothing', extension('2.5.29.30', sequence(), true), [], false),
  row('an empty list of subtrees', extension('2.5.29.30', sequence(der(0xa0)), true), [], false),
  row(
    'constraints in the wrong order',
    extension(
      '2.5.29.30',
      sequence(der(0xa1, ...trees(host('a.test'))), der(0xa0, ...trees(host('')))),
      true,
    ),
    [],
    false,
  ),
  row(
    'constraints that are not critical',
    extension('2.5.29.30', sequence(der(0xa0, ...trees(host('example.com'))))),
    [host('evil.test')],
    false,
  ),
];

const accepts: Readonly<Record<string, (leaf: Built, ...others: readonly Built[]) => boolean>> = {
  'a path': (leaf, ...others) => {
    const [anchor, ...between] = others.toReversed().map(({ der: bytes }) => readCertificate(bytes));
    assert.ok(anchor !== undefined);
    return (
      'path' in
      findPath(
        readCertificate(leaf.der),
        { anchors: [anchor], intermediates: between },
        [Date.now()],
        codeSigning,
      )
    );
  },
  'a Notary Project JWS': (leaf, ...others) => opens('application/jose+json', jwsOf(leaf, ...others)),
  'a Notary Project COSE': (leaf, ...others) => opens('application/cose', coseOf(leaf, ...others)),
};

function opens(type: string, envelope: Buffer): boolean {
  try {
    openEnvelope(type, envelope);
    return true;
  } catch (error) {
    assert.match(
      (error as Error).message,
      /may not issue|cannot be evaluated|another use|allows|authority|issue certificates|sign certificates/,
    );
    return false;
  }
}

for (const [form, accepted] of Object.entries(accepts)) {
  for (const { what, constraints, names, subject, inside } of rows)
    test(`${form}: ${what} is ${inside ? 'inside' : 'refused'}`, () => {
      const root = buildCertificate('root', { extensions: [...authorityExtensions(), constraints] });
      const other =
        names === undefined || names.length === 0 ? [] : [extension('2.5.29.17', sequence(...names))];
      const leaf = buildCertificate('leaf', {
        by: root,
        extensions: [...signerExtensions(), ...other],
        ...(subject === undefined ? {} : { subject }),
      });
      assert.equal(accepted(leaf, root), inside);
    });

  const middle = (root: Built, extensions: readonly Buffer[], subject?: Buffer): Built =>
    buildCertificate('middle', { by: root, extensions, ...(subject === undefined ? {} : { subject }) });
  const usage = (bit: number, unused: number): Buffer =>
    extension('2.5.29.15', bits(Buffer.from([bit]), unused), true);
  const mayIssue = (length?: number): Buffer =>
    extension('2.5.29.19', sequence(yes, ...(length === undefined ? [] : [whole(length)])), true);
  const certSign = usage(0x06, 1);

  const issuers: readonly (readonly [
    what: string,
    root: readonly Buffer[],
    between: readonly Buffer[],
    counts: boolean,
  ])[] = [
    ['an authority on the way', [mayIssue(), certSign], [mayIssue(), certSign], true],
    ['no authority on the way', [mayIssue(), certSign], [certSign], false],
    [
      'an authority that may not sign certificates',
      [mayIssue(), certSign],
      [mayIssue(), usage(0x02, 1)],
      false,
    ],
    ['more authorities than the root allows', [mayIssue(0), certSign], [mayIssue(), certSign], false],
    ['as many authorities as the root allows', [mayIssue(1), certSign], [mayIssue(), certSign], true],
    [
      'an authority for servers',
      [mayIssue(), certSign],
      [mayIssue(), certSign, extension('2.5.29.37', sequence(oid('1.3.6.1.5.5.7.3.1')))],
      false,
    ],
    [
      'an authority for code signing',
      [mayIssue(), certSign],
      [mayIssue(), certSign, extension('2.5.29.37', sequence(oid(codeSigning)))],
      true,
    ],
    [
      'constraints on the way',
      [mayIssue(), certSign],
      [mayIssue(), certSign, never(directory(example))],
      false,
    ],
    [
      'constraints of the root, two above the leaf',
      [mayIssue(), certSign, never(host('evil.test'))],
      [mayIssue(), certSign],
      false,
    ],
  ];
  for (const [what, above, between, counts] of issuers)
    test(`${form}: ${what} ${counts ? 'counts' : 'is refused'}`, () => {
      const root = buildCertificate('root', { extensions: above });
      const authority = middle(root, between);
      const leaf = buildCertificate('leaf', {
        by: authority,
        extensions: [...signerExtensions(), extension('2.5.29.17', sequence(host('evil.test')))],
      });
      assert.equal(accepted(leaf, authority, root), counts);
    });
}

test('a self-issued authority does not count for the path length, and is under no name constraints', () => {
  const root = buildCertificate('root', {
    extensions: [
      extension('2.5.29.19', sequence(yes, whole(0)), true),
      authorityExtensions()[1] as Buffer,
      never(directory(nameOf('root'))),
    ],
  });
  const next = buildCertificate('next', {
    by: root,
    subject: root.subject,
    extensions: authorityExtensions(),
  });
  const leaf = buildCertificate('leaf', { by: next });
  const trust = { anchors: [readCertificate(root.der)], intermediates: [readCertificate(next.der)] };
  assert.ok('path' in findPath(readCertificate(leaf.der), trust, [Date.now()], codeSigning));
  const other = buildCertificate('other', {
    by: next,
    subject: sequence(nameOf('root').subarray(2), attribute('2.5.4.3', 'below')),
  });
  assert.ok('problem' in findPath(readCertificate(other.der), trust, [Date.now()], codeSigning));
});

test('n names under n constraints are refused before they cost n²', () => {
  const many = (count: number, make: (index: number) => Buffer): Buffer[] =>
    Array.from({ length: count }, (_, index) => make(index));
  const judged = (count: number): string => {
    const root = buildCertificate('root', {
      extensions: [...authorityExtensions(), never(...many(count, (index) => host(`n${index}.evil.test`)))],
    });
    const names = extension('2.5.29.17', sequence(...many(count, (index) => host(`n${index}.good.test`))));
    const leaf = buildCertificate('leaf', { by: root, extensions: [...signerExtensions(), names] });
    const [certificate, anchor] = [readCertificate(leaf.der), readCertificate(root.der)];
    const found = findPath(certificate, { anchors: [anchor], intermediates: [] }, [Date.now()], codeSigning);
    return 'path' in found ? 'found' : found.problem;
  };
  assert.equal(judged(256), 'found');
  assert.match(judged(512), /too many names under too many constraints/);
  assert.throws(() => judged(1025), /more than 1024 elements/);
});
