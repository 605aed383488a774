import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseReference } from '../../base/distribution/index.ts';
import { registryProblems, registryRulesOf } from './registry-rules.ts';

const blocked = { blocked: true, mirrors: [], origin: true };

test('the entry for a host applies to the names of images, in whatever form it is written', () => {
  for (const host of [
    'Registry.Example.com',
    'registry.example.com:0443',
    'index.docker.io',
    'localhost:05000',
    '127.1',
    '2130706433:5000',
    '0x7f.1:05000',
    '[2001:DB8:0:0::1]',
    '[::1]:05000',
    '[::ffff:a00:1]:5000',
    'xn--a.example.com',
  ])
    assert.deepEqual(
      [...registryRulesOf({ mirrors: {}, prefixes: { [`${host}/team`]: blocked } }).keys()],
      [`${parseReference(`${host}/team/app`).registry}/team`],
    );
  assert.deepEqual(
    [...registryRulesOf({ mirrors: {}, prefixes: { '*.Example.com': blocked } }).keys()],
    ['*.example.com'],
  );
});

test('two entries for one host in two forms are a problem', () => {
  const prefixes = { '127.1:05000': blocked, '127.0.0.1:5000': blocked };
  assert.deepEqual(registryProblems({ mirrors: {}, prefixes, tls: {} }), [
    'registries.prefixes.127.0.0.1:5000: registries.prefixes.127.1:05000 applies to the same names; keep one of them',
  ]);
});
