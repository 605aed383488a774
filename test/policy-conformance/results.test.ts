import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readResults } from './results.ts';

test('the results are those of the innermost tests, and of tests that failed outside of them', () => {
  const output = `=== RUN   TestConformance
=== RUN   TestConformance/Egress
=== RUN   TestConformance/Egress/Should_deny
    one.go:12: FAILED Command was [/agnhost connect --timeout=3s --protocol=tcp 10.0.0.1:80]
=== NAME  TestConformance/Egress
    one.go:12: a line
=== RUN   TestConformance/Peers/Should_deny
    one.go:12: FAILED Command was [/agnhost connect --timeout=3s --protocol=tcp 10.0.0.1:80]
    one.go:12: FAILED Command was [/agnhost connect --timeout=3s --protocol=sctp 10.0.0.1:81]
--- FAIL: TestConformance (9.50s)
    --- PASS: TestConformance/Egress (1.20s)
        --- PASS: TestConformance/Egress/Should_deny (1.00s)
    --- FAIL: TestConformance/Peers (1.20s)
        --- FAIL: TestConformance/Peers/Should_deny (1.00s)
    --- FAIL: TestConformance/Ingress (3.00s)
        --- PASS: TestConformance/Ingress/Should_accept (1.00s)
        --- FAIL: TestConformance/Ingress/Should_pass (2.00s)
    --- FAIL: TestConformance/Priority (0.10s)
        --- PASS: TestConformance/Priority/First (0.10s)
    --- SKIP: TestConformance/Names (0.00s)
FAIL
`;
  assert.deepEqual(
    readResults(output).map(({ name, outcome }) => `${name} ${outcome}`),
    [
      'Egress/Should_deny passed',
      'Ingress/Should_accept passed',
      'Ingress/Should_pass failed',
      'Names skipped',
      'Peers/Should_deny by sctp failed',
      'Priority failed',
      'Priority/First passed',
    ],
  );
});
