import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PortcullisError } from '../../base/errors/index.ts';
import { tufFailure } from './failure.ts';

test('a service whose certificate was refused is reported with the remedy for the certificate', () => {
  const cause = (details: Readonly<Record<string, unknown>>): PortcullisError =>
    new PortcullisError({
      code: 'HTTP_UNREACHABLE',
      kind: 'unavailable',
      attempted: 'ask',
      on: 'https://trust.example.com/',
      why: 'trust.example.com: its certificate has expired',
      fix: 'renew the certificate',
      details,
    });
  const fixOf = (thrown: unknown): string =>
    tufFailure('TRUST_TUF_UNREACHABLE', 'https://trust.example.com/', 'x', thrown).failure.fix;
  assert.equal(fixOf(cause({ certificate: 'time' })), 'renew the certificate');
  assert.match(fixOf(cause({})), /^check the address and the network/u);
  assert.match(fixOf(undefined), /^check the address and the network/u);
});
