import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { createContext, runInContext } from 'node:vm';
import { build } from 'esbuild';
import { isPortcullisError } from '../../base/errors/index.ts';
import { decide } from '../seccomp/decision.ts';
import { returnValue } from '../seccomp/outcome.ts';
import { decisionFor, policyExcess } from '../seccomp/policy.ts';
import { AUDIT_ARCH, syscallNumbers } from '../seccomp/syscalls.ts';
import { boundaryArguments } from '../seccomp/fixtures/arbitrary-policy.ts';
import { answerRank } from './answer.ts';
import { evaluate, witness, within } from './compare.ts';
import { createDiagramStore } from './diagram.ts';
import { randomPolicy } from './fixtures/random-policy.ts';
import { seeded } from './fixtures/seeded.ts';
import { diagramOfPolicy } from './policy-diagram.ts';

const ARCH = AUDIT_ARCH.x86_64;

/** Random policies sometimes divide into too many cases. */
function unlessTooComplex(body: () => void): void {
  try {
    body();
  } catch (error) {
    if (!isPortcullisError(error) || error.code !== 'ENTITLEMENTS_TOO_COMPLEX') throw error;
  }
}

describe('diagrams of policies', () => {
  it('answer as the policy decides, at its bounds and next to them', () => {
    for (let seed = 0; seed < 150; seed++) {
      unlessTooComplex(() => {
        const policy = randomPolicy(seeded(seed));
        const store = createDiagramStore();
        const root = diagramOfPolicy(store, policy, { architecture: 'x86_64' });
        for (const name of policy.rules.keys()) {
          const of = decisionFor(policy, name);
          for (const args of boundaryArguments(of)) {
            const nr = syscallNumbers('x86_64').get(name) ?? -1;
            assert.equal(
              evaluate(store, root, { arch: ARCH, nr, args }),
              returnValue(decide(of, args)),
              `seed ${seed}: ${name}(${args.join(', ')})`,
            );
          }
        }
      });
    }
  });

  it('are within each other exactly when the clauses say so, and a no has a call that shows it', () => {
    let inside = 0;
    for (let seed = 0; seed < 300; seed++) {
      unlessTooComplex(() => {
        const random = seeded(seed);
        const [a, b] = [randomPolicy(random), randomPolicy(random)];
        const store = createDiagramStore();
        const [inner, outer] = [a, b].map((policy) =>
          diagramOfPolicy(store, policy, { architecture: 'x86_64' }),
        );
        assert.ok(inner !== undefined && outer !== undefined);
        const answer = within(store, inner, outer, ARCH);
        assert.equal(answer.yes, policyExcess(b, a) === undefined, `seed ${seed}`);
        if (answer.yes) {
          inside += 1;
          return;
        }
        const { call, left, right } = answer.difference;
        assert.deepEqual([evaluate(store, inner, call), evaluate(store, outer, call)], [left, right]);
        assert.ok(answerRank(left) > answerRank(right));
        assert.notEqual(witness(store, inner, outer, ARCH), undefined);
      });
    }
    assert.ok(inside > 10, String(inside));
  });

  it('need nothing of Node: the proof runs in a browser', async () => {
    const source = `
      import { proveFilter } from './prove.ts';
      import { defaultPolicy } from '../seccomp/default-policy.ts';
      import { generateBpf } from '../seccomp/bpf-generator.ts';
      import { exportOci } from '../seccomp/oci-export.ts';
      const policy = defaultPolicy(['CHOWN']);
      const filter = { bpf: generateBpf(policy, 'x86_64'), oci: exportOci(policy, 'x86_64') };
      globalThis.nodes = proveFilter({ policy, architecture: 'x86_64' }, filter).nodes;`;
    const { outputFiles } = await build({
      stdin: { contents: source, resolveDir: join(import.meta.dirname), loader: 'ts' },
      bundle: true,
      format: 'iife',
      platform: 'browser',
      write: false,
    });
    const page = createContext({ performance });
    runInContext(outputFiles[0]?.text ?? '', page);
    assert.ok((page['nodes'] as number) > 1000);
  });
});
