import assert from 'node:assert/strict';
import { it } from 'node:test';
import { importConfiguration } from './import.ts';
import type { ImportSource } from './import.ts';

const sources: readonly ImportSource[] = [
  {
    kind: 'containerd',
    file: 'config.toml',
    text: `version = 3
root = '/var/lib/containerd'
state = '/run/containerd'
imports = ['/etc/containerd/conf.d/*.toml']
oom_score = 0
temp = ''
[debug]
  level = ''
[metrics]
  address = ''
[grpc]
  address = '/run/containerd/containerd.sock'
[plugins.'io.containerd.image-verifier.v1.bindir']
  bin_dir = '/opt/containerd/image-verifier/bin'
  max_verifiers = 10
  per_verifier_timeout = '10s'
[plugins.'io.containerd.gc.v1.scheduler']
  pause_threshold = 0.02
[stream_processors.'io.containerd.ocicrypt.decoder.v1.tar.gzip']
  accepts = ['application/vnd.oci.image.layer.v1.tar+gzip+encrypted']
  returns = 'application/vnd.oci.image.layer.v1.tar+gzip'
  path = 'ctd-decoder'
  args = ['--decryption-keys-path', '/etc/containerd/ocicrypt/keys']
  env = ['OCICRYPT_KEYPROVIDER_CONFIG=/etc/containerd/ocicrypt/ocicrypt_keyprovider.conf']
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  sandboxer = 'podsandbox'
[plugins.'io.containerd.cri.v1.images']
  max_concurrent_downloads = 3
  [plugins.'io.containerd.cri.v1.images'.image_decryption]
    key_model = 'node'
[plugins.'io.containerd.grpc.v1.cri'.x509_key_pair_streaming]
  tls_cert_file = ''
`,
  },
  {
    kind: 'crio',
    file: 'crio.conf',
    text: '[crio.runtime]\nno_pivot = false\nminimum_mappable_uid = -1\npids_limit = -1\n[crio.image]\noci_artifact_mount_support = true\n',
  },
];

const leftOf = (given: readonly ImportSource[]): readonly (string | undefined)[] =>
  importConfiguration(given)
    .findings.filter(({ outcome }) => outcome === 'left')
    .map(({ key }) => key.split('.').at(-1));

it('a value that means the default is not reported as left out, and is not a setting', () => {
  assert.deepEqual(leftOf(sources), []);
  assert.deepEqual(importConfiguration(sources).settings, {
    defaultRuntime: 'runc',
    runtimes: { runc: { path: '/usr/sbin/runc' } },
  });
});

it('another value of the same keys is reported as left out', () => {
  const changed = sources.map((source) => ({
    ...source,
    text: source.text
      .replace("temp = ''", "temp = '/tmp'")
      .replace('oom_score = 0', 'oom_score = -999')
      .replace('0.02', '0.5')
      .replace('podsandbox', 'shim')
      .replace('downloads = 3', 'downloads = 8')
      .replace("'node'", "'mine'")
      .replace('no_pivot = false', 'no_pivot = true')
      .replaceAll('= -1', '= 1000'),
  }));
  assert.deepEqual(leftOf(changed), [
    'oom_score',
    'temp',
    'pause_threshold',
    'sandboxer',
    'max_concurrent_downloads',
    'image_decryption',
    'no_pivot',
    'minimum_mappable_uid',
    'pids_limit',
  ]);
});
