import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, it } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { appArmorWithin, hasAppArmorParser } from '../apparmor/parser.ts';
import { appArmorProfile } from '../apparmor/profile-text.ts';
import { exportProfile } from '../export/export.ts';
import { defaultProfile } from '../profile/builtin.ts';
import type { Profile } from '../profile/model.ts';
import { grantOf } from '../proof/answer.ts';
import { equal, witness, within } from '../proof/compare.ts';
import { and, ARCH_WORD, wordAt } from '../proof/conditions.ts';
import { describeDifference } from '../proof/describe-call.ts';
import { createDiagramStore } from '../proof/diagram.ts';
import { FALSE, TRUE } from '../proof/node-table.ts';
import type { DiagramStore } from '../proof/diagram.ts';
import type { Node } from '../proof/node-table.ts';
import { withoutLibseccomp } from '../proof/fixtures/miscompilations.ts';
import { diagramOfOci } from '../proof/oci-diagram.ts';
import { byNumberRange, diagramOfPolicy, wordIs } from '../proof/policy-diagram.ts';
import { diagramOfProgram } from '../proof/program-diagram.ts';
import { generateBpf } from '../seccomp/bpf-generator.ts';
import { always } from '../seccomp/decision.ts';
import { parseSeccompJson, readOciSeccomp } from '../seccomp/oci-shape.ts';
import { decisionFor } from '../seccomp/policy.ts';
import type { FilteredPolicy } from '../seccomp/policy.ts';
import { argumentWidth, AUDIT_ARCH, syscallNumbers } from '../seccomp/syscalls.ts';
import type { Architecture } from '../types.ts';
import { resolveConditions } from './conditional-seccomp.ts';
import { importFrom } from './read-source.ts';

const fixtures = join(import.meta.dirname, 'fixtures');
const COMPILER = fileURLToPath(new URL('../seccomp/fixtures/libseccomp.py', import.meta.url));
/** The newest call that libseccomp 2.5.4 knows, and lower-numbered calls that were added later. */
const LIBSECCOMP = 450;
const LATER = ['uprobe', 'uretprobe'];

function targetOf(architecture: Architecture) {
  return { architecture, capabilities: defaultProfile().capabilities } as const;
}

async function imported(file: string, architecture: Architecture): Promise<readonly Profile[]> {
  return (await importFrom('auto', file, { target: targetOf(architecture), profile: () => undefined })).map(
    ({ profile }) => profile,
  );
}

/** Returns the policy for native programs. */
function native({ syscalls }: Profile): FilteredPolicy {
  assert.ok(syscalls.filtered);
  return { ...syscalls, compat: [] };
}

/** Exports the profile in a format, and imports the result. */
async function again(
  profile: Profile,
  format: 'seccomp' | 'spo-apparmor' | 'spo-seccomp',
  architecture: Architecture,
) {
  const folder = mkdtempSync(join(tmpdir(), 'round-trip-'));
  try {
    const [file] = exportProfile(format, 'it', profile, targetOf(architecture)).files;
    assert.ok(file);
    const path = join(folder, file.name.replaceAll('/', '-'));
    writeFileSync(path, file.text);
    const [back] = await imported(path, architecture);
    assert.ok(back);
    return { back, text: file.text };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/**
 * Returns native calls in the tables, limited to those that an older libseccomp knows, without the given
 * names.
 */
function known(
  store: DiagramStore,
  architecture: Architecture,
  newest = Infinity,
  except: readonly string[] = [],
): Node {
  const table = [...syscallNumbers(architecture)].filter(([name]) => !except.includes(name));
  const numbers = new Set(
    table
      .filter(([name, at]) => newest === Infinity || (at <= newest && !LATER.includes(name)))
      .map(([, at]) => at),
  );
  const ranges = Array.from({ length: Math.max(...table.map(([, at]) => at)) + 2 }, (_, from) => ({
    from,
    answer: numbers.has(from) ? TRUE : FALSE,
  }));
  return store.choose(
    wordIs(store, ARCH_WORD, AUDIT_ARCH[architecture]),
    byNumberRange(store, ranges),
    FALSE,
  );
}

/** Returns calls whose int arguments have no bit set that the kernel does not read. */
function withoutHighBits(store: DiagramStore, architecture: Architecture): Node {
  const byNumber = new Map([...syscallNumbers(architecture)].map(([name, number]) => [number, name]));
  const ranges = Array.from({ length: Math.max(...byNumber.keys()) + 2 }, (_, from) => {
    const name = byNumber.get(from);
    const ints =
      name === undefined ? [] : [0, 1, 2, 3, 4, 5].filter((index) => argumentWidth(name, index) < 64);
    return {
      from,
      answer: ints.reduce(
        (node, index) => and(store, node, wordIs(store, wordAt(16 + 8 * index + 4), 0)),
        TRUE,
      ),
    };
  });
  return byNumberRange(store, ranges);
}

function assertEqual(
  store: DiagramStore,
  where: Node,
  a: Node,
  b: Node,
  architecture: Architecture,
  what: string,
): void {
  const [left, right] = [a, b].map((node) => store.choose(where, node, store.leaf(0)));
  if (left === undefined || right === undefined || equal(left, right)) return;
  const found = witness(store, left, right, AUDIT_ARCH[architecture]);
  assert.fail(
    `${what}: ${found === undefined ? '' : describeDifference(found, { left: 'the first', right: 'the second' }).sentence}`,
  );
}

/** Returns a plain object's rules, without those of some names. */
function restricted<Oci extends { readonly syscalls: readonly { readonly names: readonly string[] }[] }>(
  oci: Oci,
  keeps: (name: string) => boolean,
): Oci {
  const syscalls = oci.syscalls
    .map((rule) => ({ ...rule, names: rule.names.filter(keeps) }))
    .filter(({ names }) => names.length > 0);
  return { ...oci, syscalls };
}

/**
 * Returns calls for which rules with different actions match at once: OCI and libseccomp do not define their
 * order.
 */
function overlapping(source: ReturnType<typeof readOciSeccomp>, architecture: Architecture): string[] {
  return [...new Set(source.syscalls.flatMap(({ names }) => names))].filter((name) => {
    try {
      diagramOfOci(
        createDiagramStore(),
        restricted(source, (other) => other === name),
        architecture,
      );
      return false;
    } catch (error) {
      return isPortcullisError(error) && error.code === 'ENTITLEMENTS_UNPROVED';
    }
  });
}

function byLibseccomp(oci: unknown): Uint8Array {
  const text = JSON.stringify(oci, (_key, value: unknown) =>
    typeof value === 'bigint' ? value.toString() : value,
  );
  return Buffer.from(execFileSync('/usr/bin/python3', [COMPILER], { input: `${text}\n` }).toString(), 'hex');
}

describe('seccomp profiles of other tools, imported, exported and imported again: the same for every call', () => {
  for (const name of ['docker-default.json', 'containerd-default.json', 'crio-default.json']) {
    for (const architecture of ['x86_64', 'aarch64'] as const) {
      it(`${name} on ${architecture}`, async () => {
        const file = join(fixtures, name);
        const [profile] = await imported(file, architecture);
        assert.ok(profile);
        const policy = native(profile);
        const { back, text } = await again(profile, 'seccomp', architecture);
        const exported = parseSeccompJson(text);
        const source = readOciSeccomp(
          resolveConditions(parseSeccompJson(readFileSync(file, 'utf8')), targetOf(architecture)).plain,
        );
        const twofold = overlapping(source, architecture);
        assert.deepEqual(twofold, name === 'crio-default.json' ? ['setns'] : []);
        const store = createDiagramStore({ milliseconds: 10_000 });
        const calls = known(store, architecture);
        const meant = diagramOfPolicy(store, policy, { architecture });
        assert.ok(equal(meant, diagramOfPolicy(store, native(back), { architecture })), 'read back');
        assert.ok(equal(meant, diagramOfProgram(store, generateBpf(policy, architecture))), 'our program');
        assertEqual(
          store,
          calls,
          meant,
          diagramOfOci(store, exported, architecture),
          architecture,
          'the exported object',
        );
        // The source compares 64 bits of an int, the profile those that the kernel reads. Where both see the
        // same bits, they agree.
        const plain = withoutHighBits(store, architecture);
        const clear = known(store, architecture, Infinity, twofold);
        const original = diagramOfOci(
          store,
          restricted(source, (call) => !twofold.includes(call)),
          architecture,
        );
        assertEqual(store, and(store, clear, plain), meant, original, architecture, 'the source');
        // The tighter of the two answers: a process without SYS_ADMIN gets EPERM from the last rule, and not
        // "allow" from the first.
        for (const call of twofold) assert.deepEqual(decisionFor(policy, call), always('errno 1'));
        if (architecture !== 'x86_64' || process.arch !== 'x64' || withoutLibseccomp !== false) return;
        const older = known(store, architecture, LIBSECCOMP);
        assertEqual(
          store,
          older,
          meant,
          diagramOfProgram(store, byLibseccomp(exported)),
          architecture,
          'libseccomp’s program of the exported object',
        );
        const program = diagramOfProgram(store, byLibseccomp(source));
        const seen = and(store, known(store, architecture, LIBSECCOMP, twofold), plain);
        assertEqual(store, seen, meant, program, architecture, 'libseccomp’s program of the source');
        // libseccomp uses the first rule, whatever comes later. With it the profile is never looser.
        const [inner, outer] = [meant, program].map((node) =>
          store.mapLeaves(store.choose(and(store, older, plain), node, store.leaf(0)), grantOf),
        );
        assert.ok(within(store, inner ?? TRUE, outer ?? FALSE, AUDIT_ARCH[architecture]).yes);
      });
    }
  }

  for (const name of readdirSync(fixtures).filter(
    (file) => file.startsWith('spo-') && !/selinux|apparmor/.test(file),
  )) {
    it(`${name} of the security-profiles-operator`, async () => {
      for (const profile of await imported(join(fixtures, name), 'x86_64')) {
        const { back } = await again(profile, 'spo-seccomp', 'x86_64');
        const store = createDiagramStore();
        const meant = diagramOfPolicy(store, native(profile), { architecture: 'x86_64' });
        assert.ok(equal(meant, diagramOfPolicy(store, native(back), { architecture: 'x86_64' })));
        assert.ok(equal(meant, diagramOfProgram(store, generateBpf(native(back), 'x86_64'))));
      }
    });
  }

  for (const name of readdirSync(fixtures).filter((file) => file.startsWith('spo-apparmorprofile'))) {
    it(
      `${name}: by the automata that apparmor_parser makes`,
      { skip: !hasAppArmorParser() && 'apparmor_parser is not installed' },
      async () => {
        for (const profile of await imported(join(fixtures, name), 'x86_64')) {
          const { back } = await again(profile, 'spo-apparmor', 'x86_64');
          const [a, b] = [profile, back].map(
            (one) => appArmorProfile({ ...one, apparmor: 'default' })?.text ?? '',
          );
          for (const [inner, outer] of [
            [a, b],
            [b, a],
          ])
            assert.deepEqual(await appArmorWithin(inner ?? '', outer ?? ''), { yes: true });
        }
      },
    );
  }
});
