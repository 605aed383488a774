import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { fallbackTag, formatReference, isDigest, parseReference } from './index.ts';

const hex = 'a'.repeat(64);
const good: readonly (readonly [text: string, normalised: string])[] = [
  ['busybox', 'docker.io/library/busybox:latest'],
  ['busybox:1.36', 'docker.io/library/busybox:1.36'],
  ['library/busybox', 'docker.io/library/busybox:latest'],
  ['user/app:v1', 'docker.io/user/app:v1'],
  ['docker.io/busybox', 'docker.io/library/busybox:latest'],
  ['index.docker.io/busybox:1', 'docker.io/library/busybox:1'],
  ['docker.io/a/b/c', 'docker.io/a/b/c:latest'],
  [`busybox@sha256:${hex}`, `docker.io/library/busybox@sha256:${hex}`],
  [`busybox:1@sha256:${hex}`, `docker.io/library/busybox:1@sha256:${hex}`],
  [`r.io/a@sha512:${hex}${hex}`, `r.io/a@sha512:${hex}${hex}`],
  ['localhost/app', 'localhost/app:latest'],
  ['localhost:5000/dev/app:1', 'localhost:5000/dev/app:1'],
  ['127.0.0.1:5000/app', '127.0.0.1:5000/app:latest'],
  ['[::1]:5000/app', '[::1]:5000/app:latest'],
  ['Registry.Example.COM/pay/app:V1', 'registry.example.com/pay/app:V1'],
  ['r.io:05000/app', 'r.io:5000/app:latest'],
  ['[0:0::1]:00443/app', '[::1]:443/app:latest'],
  ['[0:0:0:0:0:0:0:1]/app', '[::1]/app:latest'],
  ['10.1/app', '10.0.0.1/app:latest'],
  ['0x7f.0.0.1:5000/app', '127.0.0.1:5000/app:latest'],
  ['[::ffff:7f00:1]:5000/app', '127.0.0.1:5000/app:latest'],
  ['[0:0::FFFF:a00:1]/app', '10.0.0.1/app:latest'],
  ['[::ffff:0:a00:1]/app', '[::ffff:0:a00:1]/app:latest'],
  ['host/app', 'docker.io/host/app:latest'],
  ['LocalHost/app', 'localhost/app:latest'],
  ['x/a__b-c.d/e---f:x', 'docker.io/x/a__b-c.d/e---f:x'],
];
const bad: readonly (readonly [text: string, why: RegExp])[] = [
  ['', /empty/],
  [hex, /image id/],
  ['app:', /tag/],
  ['app:-x', /tag/],
  [`app:${'x'.repeat(129)}`, /tag/],
  ['app@sha256:abc', /digest/],
  [`app@sha256:${hex.toUpperCase()}`, /digest/],
  [`app@md5:${hex}`, /digest/],
  [`app@sha256:${hex}@sha256:${hex}`, /digest/],
  ['r.io/App', /lower case/],
  ['App', /lower case/],
  ['HOST/app', /lower case/],
  ['r.io/', /missing/],
  ['/app', /malformed/],
  ['r.io//app', /malformed/],
  ['r.io/../app', /malformed/],
  ['r.io/a/', /malformed/],
  ['r.io/-a', /malformed/],
  ['r.io/a b', /malformed/],
  ['r.io/a?x=1', /malformed/],
  ['r.io/a%2fb', /malformed/],
  ['-r.io/app', /host/],
  ['r.io:port/app', /host/],
  ['r.io:0/app', /address or port/],
  ['r.io:65536/app', /address or port/],
  ['10.0.0.256/app', /address or port/],
  ['r.0x10/app', /address or port/],
  ['[1:2]/app', /address or port/],
  ['user:secret@r.io/app', /digest/],
  ['https://r.io/app', /leave out https:\/\//],
  ['docker://r.io/team/app:1', /it is a URL, not a name; leave out docker:\/\//],
  [`r.io/${'a/'.repeat(200)}a`, /longer/],
  ['x'.repeat(2000), /longer/],
];

describe('a reference', () => {
  for (const [text, normalised] of good) {
    it(`${text.slice(0, 60)} is ${normalised.slice(0, 60)}`, () => {
      const reference = parseReference(text);
      assert.equal(formatReference(reference), normalised);
      assert.deepEqual(parseReference(normalised), reference);
    });
  }
  for (const [text, why] of bad) {
    it(`${JSON.stringify(text.slice(0, 60))} is refused`, () => {
      assert.throws(() => parseReference(text), {
        code: 'DISTRIBUTION_BAD_REFERENCE',
        kind: 'invalid',
        message: why,
      });
    });
  }

  it('of any text is refused with its code, or reads the same in its normalised form', () => {
    const text = fc.string({ unit: fc.constantFrom(...Array.from('abC1.:/@-_[]%?# é')), maxLength: 40 });
    fc.assert(
      fc.property(text, (any) => {
        let reference;
        try {
          reference = parseReference(any);
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'DISTRIBUTION_BAD_REFERENCE');
          return;
        }
        assert.deepEqual(parseReference(formatReference(reference)), reference);
        // Only plain characters may be part of a path of the API.
        assert.match(reference.repository, /^[a-z0-9._/-]+$/);
      }),
      { numRuns: 5000 },
    );
  });
});

describe('a digest', () => {
  it('has a known algorithm and the required number of lower-case hex digits', () => {
    assert.ok(isDigest(`sha256:${hex}`) && isDigest(`sha512:${hex}${hex}`));
    for (const text of [
      '',
      'sha256:',
      `sha256:${hex}0`,
      `sha512:${hex}`,
      `sha1:${hex}`,
      ` sha256:${hex}`,
      `sha256:${hex}\n`,
    ])
      assert.ok(!isDigest(text), text);
  });

  it('has a fallback tag that is a valid tag', () => {
    assert.equal(fallbackTag(`sha256:${hex}`), `sha256-${hex}`);
    assert.equal(fallbackTag(`sha512:${hex}${hex}`), `sha512-${hex}`);
  });
});
