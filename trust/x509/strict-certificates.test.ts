import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openEnvelope } from '../notation/envelope.ts';
import { readStoreFile } from '../notation/store-file.ts';
import { readPemCertificates } from '../pki/authorities.ts';
import { readTrustedRoot } from '../sigstore/trusted-root.ts';
import { derTag } from './der.ts';
import { algorithmWithNull, bits, der, integer, octets, oid, sequence, whole } from './der-writer.ts';
import {
  attribute,
  buildCertificate,
  extension,
  nameOf,
  utcTime,
  yes,
} from './fixtures/build-certificate.ts';
import type { Built, Parts } from './fixtures/build-certificate.ts';
import { coseOf, jwsOf, pemOf, trustedRootOf } from './fixtures/carry-certificates.ts';
import { certificatesOfPem } from './pem.ts';

/**
 * Every form of signature that carries certificates, as a function that reads a leaf and its root, or throws
 * its reason.
 */
const readers: Readonly<Record<string, (leaf: Built, root: Built) => void>> = {
  'a Notary Project JWS': (leaf, root) => openEnvelope('application/jose+json', jwsOf(leaf, root)),
  'a Notary Project COSE': (leaf, root) => openEnvelope('application/cose', coseOf(leaf, root)),
  'a Notary Project trust store': (leaf) =>
    throwText(readStoreFile('store.der', leaf.der, 'ca'), /neither belongs to an authority/),
  'a sigstore trusted root': (leaf, root) => readTrustedRoot(trustedRootOf(leaf, root)),
  'a PEM text, for signing and for tokens': (leaf) => certificatesOfPem(pemOf(leaf)),
  'custom roots': (leaf) => readPemCertificates('roots.pem', pemOf(leaf)),
};

function throwText(answer: unknown, except: RegExp): void {
  if (typeof answer === 'string' && !except.test(answer)) throw new Error(answer);
}

const root = buildCertificate('root');
const usage = extension('2.5.29.15', bits(Buffer.from([0x80]), 7), true);
const purpose = extension('2.5.29.37', sequence(oid('1.3.6.1.5.5.7.3.3')));
const names = (...list: readonly Buffer[]): Buffer => extension('2.5.29.17', sequence(...list));
const longLength = (element: Buffer): Buffer =>
  Buffer.concat([element.subarray(0, 1), Buffer.from([0x81, element.length - 2]), element.subarray(2)]);
const raw = (hex: string): Buffer => Buffer.from(hex, 'hex');
const generalized = (text: string): Buffer => der(derTag.generalizedTime, Buffer.from(text));
/** Returns the coordinates of a point on P-256 with another first byte. */
const point = (spki: Buffer, form: number, bytes: number): Buffer =>
  bits(Buffer.concat([Buffer.from([form + ((spki.at(-1) ?? 0) & 1)]), spki.subarray(27, 27 + bytes)]));
const p256 = sequence(oid('1.2.840.10045.2.1'), oid('1.2.840.10045.3.1.7'));
/** P-256 by its numbers (SEC 1 section C.2, SEC 2 section 2.4.2). */
const p256Numbers = sequence(
  oid('1.2.840.10045.2.1'),
  sequence(
    whole(1),
    sequence(
      oid('1.2.840.10045.1.1'),
      integer(raw('ffffffff00000001000000000000000000000000ffffffffffffffffffffffff')),
    ),
    sequence(
      octets(raw('ffffffff00000001000000000000000000000000fffffffffffffffffffffffc')),
      octets(raw('5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b')),
    ),
    octets(
      raw(
        '046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296' +
          '4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5',
      ),
    ),
    integer(raw('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551')),
    whole(1),
  ),
);
const soon = utcTime(Date.now() + 3600_000);

/** One leniency per row: the encoding, and how it violates DER or RFC 5280. */
const rows: readonly (readonly [what: string, parts: Parts])[] = [
  // X.690
  ['a serial number with a byte too many (02020001)', { serial: raw('02020001') }],
  ['a serial number with a byte of ones too many (0202ff80)', { serial: raw('0202ff80') }],
  ['a serial number without content', { serial: raw('0200') }],
  ['a length in the long form where the short form suffices', { serial: longLength(integer(raw('4001'))) }],
  ['a length with a leading zero', { serial: raw('028200024001') }],
  ['an indefinite length', { subject: Buffer.concat([raw('3080'), nameOf('x').subarray(2), raw('0000')]) }],
  ['a tag number in the long form', { serial: raw('1f02024001') }],
  ['a primitive sequence', { subject: Buffer.concat([raw('10'), nameOf('x').subarray(1)]) }],
  [
    'a constructed octet string',
    { extensions: [usage, purpose, sequence(oid('1.2.3.4'), der(0x24, octets(raw('00'))))] },
  ],
  [
    'a critical mark of 01',
    { extensions: [sequence(oid('2.5.29.15'), raw('010101'), octets(bits(raw('80'), 7))), purpose] },
  ],
  [
    'a critical mark of two bytes',
    { extensions: [sequence(oid('2.5.29.15'), raw('0102ffff'), octets(bits(raw('80'), 7))), purpose] },
  ],
  [
    'a critical mark that is written and false',
    {
      extensions: [
        usage,
        sequence(oid('2.5.29.37'), raw('010100'), octets(sequence(oid('1.3.6.1.5.5.7.3.3')))),
      ],
    },
  ],
  ['a cA of 01', { extensions: [usage, purpose, extension('2.5.29.19', sequence(raw('010101')))] }],
  [
    'a cA that is written and false',
    { extensions: [usage, purpose, extension('2.5.29.19', sequence(raw('010100')))] },
  ],
  [
    'an object identifier with a leading 80',
    { extensions: [usage, purpose, sequence(raw('06048003290f'), octets(raw('00')))] },
  ],
  [
    'an object identifier that is cut short',
    { extensions: [usage, purpose, sequence(raw('06032a0383'), octets(raw('00')))] },
  ],
  [
    'an object identifier of nothing',
    { extensions: [usage, purpose, sequence(raw('0600'), octets(raw('00')))] },
  ],
  [
    'a bit string whose unused bits are set',
    { extensions: [extension('2.5.29.15', raw('03020781'), true), purpose] },
  ],
  [
    'a key usage with zeros at its end',
    { extensions: [extension('2.5.29.15', raw('03020080'), true), purpose] },
  ],
  [
    'a key usage with a byte of zeros at its end',
    { extensions: [extension('2.5.29.15', raw('0303078000'), true), purpose] },
  ],
  [
    'a signature with unused bits',
    { signature: (signature) => bits(Buffer.concat([signature, raw('00')]), 7) },
  ],
  ['parameters of an algorithm that has none', { algorithm: algorithmWithNull('1.2.840.10045.4.3.2') }],
  [
    'a NULL with content',
    { extensions: [usage, purpose], algorithm: sequence(oid('1.2.840.10045.4.3.2'), raw('050100')) },
  ],
  [
    'a set in descending order',
    {
      subject: sequence(
        nameOf('x').subarray(2),
        der(
          derTag.set,
          sequence(oid('2.5.4.11'), der(0x0c, Buffer.from('b'))),
          sequence(oid('2.5.4.10'), der(0x0c, Buffer.from('a'))),
        ),
      ),
    },
  ],
  ['invalid UTF-8', { subject: nameOf('x', attribute('2.5.4.11', raw('c328'))) }],
  [
    'a PrintableString with an at sign',
    { subject: nameOf('x', attribute('2.5.4.11', 'a@b', derTag.printableString)) },
  ],
  ['an IA5String beyond ASCII', { subject: nameOf('x', attribute('2.5.4.11', raw('e9'), derTag.ia5String)) }],
  [
    'a BMPString of an odd length',
    { subject: nameOf('x', attribute('2.5.4.11', raw('004100'), derTag.bmpString)) },
  ],
  [
    'half of a surrogate pair in a BMPString',
    { subject: nameOf('x', attribute('2.5.4.11', raw('d800'), derTag.bmpString)) },
  ],
  ['a name that is a number', { subject: nameOf('x', attribute('2.5.4.11', raw('01'), derTag.integer)) }],
  ['a time without seconds', { validity: sequence(utcTime('2601010000Z'), soon) }],
  ['a time with an offset', { validity: sequence(utcTime('260101000000+0000'), soon) }],
  ['a day that does not exist', { validity: sequence(utcTime('260230000000Z'), soon) }],
  ['the hour 24', { validity: sequence(utcTime('260101240000Z'), soon) }],
  ['bytes after the certificate', { after: [raw('0500')] }],
  // RFC 5280
  [
    'an unknown critical extension',
    { extensions: [usage, purpose, extension('1.2.3.4', raw('0500'), true)] },
  ],
  [
    'critical certificate policies',
    { extensions: [usage, purpose, extension('2.5.29.32', sequence(sequence(oid('1.2.3.4'))), true)] },
  ],
  [
    'critical policy constraints',
    { extensions: [usage, purpose, extension('2.5.29.36', sequence(der(0x80, raw('00'))), true)] },
  ],
  ['an extension twice', { extensions: [usage, purpose, purpose] }],
  [
    'two lists of extensions',
    {
      rest: [
        der(0xa3, sequence(usage, purpose)),
        der(0xa3, sequence(extension('1.2.3.4', raw('0500'), true))),
      ],
    },
  ],
  [
    'a list of extensions with something after it',
    { rest: [der(0xa3, sequence(usage, purpose), sequence())] },
  ],
  ['an empty list of extensions', { rest: [der(0xa3, sequence())] }],
  ['a field that does not exist', { rest: [der(0xa3, sequence(usage, purpose)), raw('0500')] }],
  [
    'extensions before the unique identifier',
    { rest: [der(0xa3, sequence(usage, purpose)), der(0x81, raw('00'))] },
  ],
  ['extensions in version 1', { version: [] }],
  ['extensions in version 2', { version: [der(0xa0, whole(1))] }],
  ['version 1 that is written', { version: [der(0xa0, whole(0))], extensions: [] }],
  ['version 4', { version: [der(0xa0, whole(3))] }],
  ['a negative serial number', { serial: raw('0201ff') }],
  ['a serial number of 21 octets', { serial: der(2, Buffer.alloc(21, 0x41)) }],
  ['another algorithm inside than outside', { outerAlgorithm: sequence(oid('1.2.840.10045.4.3.3')) }],
  ['parameters outside that are not inside', { outerAlgorithm: algorithmWithNull('1.2.840.10045.4.3.2') }],
  [
    'a GeneralizedTime before 2050',
    { validity: sequence(utcTime(Date.now() - 3600_000), generalized('20490101000000Z')) },
  ],
  [
    'a GeneralizedTime with a fraction',
    { validity: sequence(utcTime(Date.now() - 3600_000), generalized('20510101000000.5Z')) },
  ],
  ['three times in the validity', { validity: sequence(utcTime(Date.now() - 3600_000), soon, soon) }],
  ['a key usage that allows nothing', { extensions: [extension('2.5.29.15', bits(raw('')), true), purpose] }],
  [
    'a key usage with something after it',
    { extensions: [extension('2.5.29.15', Buffer.concat([bits(raw('80'), 7), raw('0500')]), true), purpose] },
  ],
  ['an empty extended key usage', { extensions: [usage, extension('2.5.29.37', sequence())] }],
  [
    'a length of path without an authority',
    { extensions: [usage, purpose, extension('2.5.29.19', sequence(whole(1)))] },
  ],
  [
    'basic constraints with something after the length',
    { extensions: [usage, purpose, extension('2.5.29.19', sequence(yes, whole(1), whole(1)))] },
  ],
  ['no subject name in the extension for them', { extensions: [usage, purpose, names()] }],
  [
    'a subject name with a zero byte',
    { extensions: [usage, purpose, names(der(0x82, Buffer.from('a.test\0.b.test')))] },
  ],
  [
    'a subject name of a form that does not exist',
    { extensions: [usage, purpose, names(der(0x89, Buffer.from('a')))] },
  ],
  ['an address of five bytes', { extensions: [usage, purpose, names(der(0x87, Buffer.alloc(5)))] }],
  ['a public key as a compressed point', { spki: (spki) => sequence(p256, point(spki, 2, 32)) }],
  ['a public key as a hybrid point', { spki: (spki) => sequence(p256, point(spki, 6, 64)) }],
  ['a public key at infinity', { spki: () => sequence(p256, bits(raw('00'))) }],
  ['a curve by its numbers', { spki: (spki) => sequence(p256Numbers, spki.subarray(23)) }],
  ['a public key with something after it', { spki: (spki) => sequence(spki.subarray(2), raw('0500')) }],
  ['an empty relative name', { subject: sequence(nameOf('x').subarray(2), raw('3100')) }],
];

for (const [reader, read] of Object.entries(readers)) {
  test(`${reader} accepts a certificate in DER`, () => {
    read(buildCertificate('leaf', { by: root }), root);
    read(
      buildCertificate('leaf', {
        by: root,
        extensions: [usage, purpose, names(der(0x82, Buffer.from('a.test')))],
      }),
      root,
    );
    read(
      buildCertificate('leaf', {
        by: root,
        validity: sequence(utcTime(Date.now() - 3600_000), generalized('20510101000000Z')),
      }),
      root,
    );
    read(buildCertificate('leaf', { by: root, serial: raw('02020080') }), root);
    read(
      buildCertificate('leaf', {
        by: root,
        subject: nameOf('x', attribute('2.5.4.11', raw('00e9'), derTag.bmpString)),
      }),
      root,
    );
  });
  for (const [what, parts] of rows)
    test(`${reader} refuses ${what}`, () => {
      const leaf = buildCertificate('leaf', { by: root, ...parts });
      assert.throws(() => read(leaf, root), /^(?!.*error:)/);
    });
}
