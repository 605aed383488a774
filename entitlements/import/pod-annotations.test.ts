import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unknownAnnotations } from './pod-annotations.ts';

test('the annotations of Portcullis, and those of others, are known', () => {
  const ours = ['dns', 'profile', 'profile.web', 'rootfs-size', 'rootfs-size.web', 'services', 'shm-size'];
  const others = ['kubernetes.io/config.seen', 'example.com/profle'];
  assert.deepEqual(unknownAnnotations([...ours.map((name) => `portcullis.dev/${name}`), ...others]), []);
});

test('a mistyped annotation is named with the one that was meant', () => {
  assert.deepEqual(
    unknownAnnotations(['portcullis.dev/profle', 'portcullis.dev/profil.web', 'portcullis.dev/service']),
    [
      { key: 'portcullis.dev/profle', meant: 'portcullis.dev/profile' },
      { key: 'portcullis.dev/profil.web', meant: 'portcullis.dev/profile.web' },
      { key: 'portcullis.dev/service', meant: 'portcullis.dev/services' },
    ],
  );
});

test('an annotation that is near to none has no suggestion, and at most five are named', () => {
  assert.deepEqual(unknownAnnotations(['portcullis.dev/', 'portcullis.dev/dns.web']), [
    { key: 'portcullis.dev/' },
    { key: 'portcullis.dev/dns.web' },
  ]);
  assert.equal(
    unknownAnnotations(Array.from({ length: 10_000 }, (_, at) => `portcullis.dev/x${at}`)).length,
    5,
  );
});
