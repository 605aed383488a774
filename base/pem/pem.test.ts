import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { makeCertificate } from '../../test/fixtures/certificate.ts';
import { onlyPemBlock, pemBlocks, readPem, tlsCertificates, writePem } from './index.ts';

/** Fixed, unless a run of the fuzzers names another seed. */
const seed = Number(process.env['FUZZ_SEED'] ?? 20_261_124);
const times = 300 * Number(process.env['FUZZ_TIMES'] ?? 1);

const anyType = fc.stringMatching(/^[A-Z0-9]{1,10}(?: [A-Z0-9]{1,10}){0,3}$/u);
const anyContent = fc.uint8Array({ maxLength: 300 });
const anyHeaders = fc.dictionary(
  fc.stringMatching(/^[a-z][a-z0-9-]{0,10}$/u),
  fc.stringMatching(/^(?:[^\s][^\r\n]{0,20})?$/u),
  {
    maxKeys: 3,
    noNullPrototype: true,
  },
);
const anyBlock = fc.record({ type: anyType, content: anyContent, headers: anyHeaders });

const hello = '-----BEGIN A-----\naGVsbG8=\n-----END A-----\n';

describe('PEM', () => {
  test('written blocks are read with their type, headers and content, whatever text surrounds them', () => {
    const lines = fc.stringMatching(/^[^\r\n-]{0,20}$/u);
    fc.assert(
      fc.property(fc.array(fc.tuple(anyBlock, lines)), fc.constantFrom('\n', '\r\n'), (list, end) => {
        const text = list
          .map(([{ type, content, headers }, line]) => `${writePem(type, content, headers)}${line}\n`)
          .join('');
        const { blocks, damaged } = readPem(text.replaceAll('\n', end));
        assert.equal(damaged, false);
        assert.deepEqual(
          blocks.map(({ type, headers, content }) => ({
            type,
            content: [...content],
            headers: Object.fromEntries(headers),
          })),
          list.map(([{ type, headers, content }]) => ({
            type,
            content: [...content],
            headers: { ...headers },
          })),
        );
      }),
      { seed, numRuns: times },
    );
  });

  test('a changed character is reported as damage, or gives a block that is written as it is read', () => {
    const anyCharacter = fc.constantFrom('-', '=', 'A', ':', '#', '_', ' ', '\n', '\u00a0');
    fc.assert(
      fc.property(anyBlock, fc.nat(), anyCharacter, (block, at, character) => {
        const text = writePem(block.type, block.content, block.headers);
        const index = at % text.length;
        const { blocks, damaged } = readPem(text.slice(0, index) + character + text.slice(index + 1));
        assert.equal(blocks.length, damaged ? 0 : 1);
        for (const { type, content, headers } of blocks)
          assert.deepEqual(readPem(writePem(type, content, Object.fromEntries(headers))), {
            blocks,
            damaged: false,
          });
      }),
      { seed, numRuns: times },
    );
  });

  test('lines have 64 characters', () => {
    assert.equal(
      writePem('A', Buffer.alloc(49)),
      `-----BEGIN A-----\n${'A'.repeat(64)}\nAA==\n-----END A-----\n`,
    );
    assert.equal(writePem('A', Buffer.alloc(48)), `-----BEGIN A-----\n${'A'.repeat(64)}\n-----END A-----\n`);
  });

  const accepted: readonly (readonly [what: string, text: string])[] = [
    ['lines of any length', '-----BEGIN A-----\naGV\nsbG8\n=\n-----END A-----'],
    ['empty lines', '-----BEGIN A-----\n\naGVsbG8=\n\n-----END A-----\n'],
    ['blanks at both ends of lines, as in YAML', '  -----BEGIN A-----  \n\t aGVsbG8= \n  -----END A-----'],
    ['text around it', `Subject: a - b\n${hello}----- end -----\n`],
  ];
  for (const [what, text] of accepted)
    test(`reads ${what}`, () => {
      const { blocks, damaged } = readPem(text);
      assert.deepEqual(
        { damaged, read: blocks.map(({ type, content }) => `${type} ${content.toString()}`) },
        { damaged: false, read: ['A hello'] },
      );
    });

  const refused: readonly (readonly [what: string, text: string, others?: number])[] = [
    ['a block without an end', '-----BEGIN A-----\naGVsbG8=\n'],
    ['a block that begins inside another', `-----BEGIN A-----\naGVsbG8=\n${hello}`, 1],
    ['an end of another type', '-----BEGIN A-----\naGVsbG8=\n-----END B-----\n'],
    ['an end without a beginning', `${hello}-----END A-----\n`, 1],
    ['a boundary within a line', `# ${hello}`],
    ['a block on one line', '-----BEGIN A-----aGVsbG8=-----END A-----'],
    ['a character that is not base64', '-----BEGIN A-----\naGVs*G8=\n-----END A-----\n'],
    ['base64 of URLs', '-----BEGIN A-----\n-_-_\n-----END A-----\n'],
    ['base64 without padding', '-----BEGIN A-----\naGVsbG8\n-----END A-----\n'],
    ['bits after the content', '-----BEGIN A-----\naGVsbG9=\n-----END A-----\n'],
    ['content after padding', '-----BEGIN A-----\naA==\naA==\n-----END A-----\n'],
    ['headers without an empty line after them', '-----BEGIN A-----\nrole: a\naGVsbG8=\n-----END A-----\n'],
    ['a header after content', '-----BEGIN A-----\naGVs\nrole: a\n\nbG8=\n-----END A-----\n'],
    ['a header twice', '-----BEGIN A-----\nrole: a\nRole: b\n\naGVsbG8=\n-----END A-----\n'],
    ['a type without an end', '-----BEGIN A\naGVsbG8=\n-----END A-----\n'],
  ];
  for (const [what, text, others = 0] of refused)
    test(`${what} is reported as damage, and other blocks are read`, () => {
      const { blocks, damaged } = readPem(text);
      assert.deepEqual({ damaged, blocks: blocks.length }, { damaged: true, blocks: others });
      assert.throws(() => pemBlocks(text), /damaged/u);
    });

  test('a text with one block without headers has an only block', () => {
    const problemOf = (text: string): unknown => (onlyPemBlock(text) as { problem?: string }).problem;
    assert.equal(problemOf(hello), undefined);
    assert.equal(problemOf('hello'), 'it is not PEM');
    assert.equal(problemOf(`${hello}${hello}`), 'it contains 2 PEM blocks, not one');
    assert.equal(problemOf(`${hello}-----BEGIN A-----`), 'its PEM block is damaged');
    assert.equal(problemOf(writePem('A', Buffer.from('a'), { role: 'b' })), 'its PEM block has headers');
  });

  test('a header of two lines is refused', () => {
    for (const value of ['a\nb', 'a\rb'])
      assert.throws(() => writePem('A', Buffer.from('a'), { role: value }), /more than one line/u);
  });

  test('a text of many lines is read in one pass', () => {
    const lines = '-----BEGIN A-----\nrole: a\n'.repeat(200_000);
    const before = performance.now();
    assert.deepEqual(readPem(lines), { blocks: [], damaged: true });
    const long = readPem(`-----BEGIN A-----\n${'AAAA\n'.repeat(400_000)}-----END A-----\n`);
    assert.equal(long.blocks[0]?.content.length, 1_200_000);
    assert.ok(performance.now() - before < 10_000);
  });
});

test('certificates for TLS are read by OpenSSL, one block each, without keys', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-pem-'));
  try {
    const { certificate, key } = makeCertificate(folder, 'one');
    const [one, secret] = [readFileSync(certificate, 'utf8'), readFileSync(key, 'utf8')];
    assert.deepEqual(tlsCertificates(`${secret}# mine\n${one}${one}`), [one, one]);
    assert.equal(new X509Certificate(tlsCertificates(one)[0] ?? '').subject, 'CN=one');
    assert.throws(() => tlsCertificates(secret), /no PEM certificate/u);
    assert.throws(
      () => tlsCertificates(`${one}${writePem('CERTIFICATE', Buffer.from('a'))}`),
      /not a readable certificate/u,
    );
    assert.throws(() => tlsCertificates(`${one}-----BEGIN CERTIFICATE-----\n`), /damaged/u);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
