import { PortcullisError } from '../../base/errors/index.ts';

/** Fails the running step unless `condition` holds. `what` is the expectation, `found` the actual state. */
export function expect(condition: boolean, what: string, found: string): asserts condition {
  if (condition) return;
  throw new PortcullisError({
    code: 'CLI_QUICKSTART_NOT_HELD',
    kind: 'internal',
    attempted: 'check',
    on: what,
    why: `expected: ${what}\nfound: ${found}`,
    fix: 'this is a defect, or something on this machine interferes; run `portcullis doctor` and report its output with these lines',
  });
}
