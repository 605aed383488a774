import assert from 'node:assert/strict';
import { it } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { parseDocuments } from '../../base/schema/index.ts';
import { witnesses } from '../compare/contains.ts';
import { checkProfiles } from './check.ts';
import { formatProfile } from './format.ts';
import { lintProfiles } from '../lint/lint.ts';
import type { Profile } from '../profile/model.ts';

/** A profile that uses every key. Each item in it restricts or grants something that no other item does. */
const WHOLE = `# yaml-language-server: $schema=entitlement-profile.json
apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: base }
parameters:
  port: { type: port, default: 8080 }
  data: { type: path, default: /srv }
entitlements: [network.user, security.confined, resources.pids=100]
files: { read: [/app/**, "\${data}/**"], write: ["\${data}/cache/*"], execute: [/app/bin/?*], deny: { read: [/app/secret/**] } }
network: { egress: [{ to: 10.0.0.0/8, except: [10.9.0.0/16], ports: [5432/tcp] }], ingress: [{ ports: ["\${port}/tcp"] }] }
---
apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: top }
extends: [{ profile: base, with: { port: 443 } }]
syscalls: { drop: [chmod, { ioctl: { arg1: [TIOCSTI, 0x541c] } }], add: [{ socket: { arg0: AF_VSOCK, arg1: "1..5" } }] }
capabilities: { drop: [ALL], add: [KILL], ambient: [KILL] }
devices: { add: [c 10:229 rw], drop: ["c *:* m"] }
mounts: [{ fstype: tmpfs, target: /mnt/*, readonly: true }]
paths: { masked: [/proc/uptime], readonly: [/etc] }
namespaces: { own: [user] }
resources: { memory: 64Mi, nofile: { soft: 100, hard: 200 }, core: 0 }
`;

/** 300 in a run of all tests. MUTANTS=10000 sets the long form. */
const RUNS = Number(process.env['MUTANTS'] ?? 300);

/** xorshift32: the same mutants in every run. */
function random(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const SCRAPS = [
  '${port}',
  'ALL',
  '**',
  '{',
  '}',
  '[',
  ']',
  ': ',
  '- ',
  '\n',
  '  ',
  '"',
  "'",
  '0',
  '-1',
  '99999999999999999999',
  '/',
  '..',
  '*',
  '&a ',
  '*a',
  '!!x ',
  '\0',
  '\u{1f600}',
  'null',
  'true',
  '# ',
  '{{{{',
  '0x',
  '/32',
  '65536/tcp',
  '---\n',
  '<<: ',
];

function mutated(text: string, pick: (below: number) => number): string {
  let result = text;
  for (let times = 1 + pick(3); times > 0; times--) {
    const at = pick(result.length);
    const length = pick(12);
    const from = pick(result.length);
    switch (pick(6)) {
      case 0:
        result = result.slice(0, at) + result.slice(at + length);
        break;
      case 1:
        result = result.slice(0, at) + (SCRAPS[pick(SCRAPS.length)] ?? '') + result.slice(at);
        break;
      case 2:
        result = result.slice(0, at) + String.fromCharCode(32 + pick(95)) + result.slice(at + 1);
        break;
      case 3:
        result = result.slice(0, at) + result.slice(from, from + length) + result.slice(at);
        break;
      case 4: {
        const lines = result.split('\n');
        const [line = ''] = lines.splice(pick(lines.length), 1);
        lines.splice(pick(lines.length + 1), 0, line);
        result = lines.join('\n');
        break;
      }
      default: {
        const lines = result.split('\n');
        lines.splice(pick(lines.length), 1);
        result = lines.join('\n');
      }
    }
  }
  return result;
}

it(
  `each of ${RUNS} mutated profiles is refused with a position, or means what it says`,
  { timeout: 600_000 },
  () => {
    const file = 'mutant.yaml';
    const original = checkProfiles([{ file, text: WHOLE }]);
    assert.deepEqual(original.problems, []);
    const sound = new Map(original.profiles.map(({ name, profile }) => [name, profile]));
    assert.equal(sound.size, 2);
    const pick = random(20261120);
    let [refused, slowest] = [0, 0];
    for (let run = 0; run < RUNS; run++) {
      const text = mutated(WHOLE, pick);
      const begun = performance.now();
      const { profiles, problems } = checkProfiles([{ file, text }]);
      slowest = Math.max(slowest, performance.now() - begun);
      const shown = JSON.stringify(text);
      for (const { position, message, fix } of problems) {
        assert.ok(
          position.file === file && position.line >= 1 && position.column >= 1 && message !== '',
          shown,
        );
        assert.ok(position.line <= text.split('\n').length + 1 && fix !== '', shown);
      }
      if (problems.length > 0) refused += 1;
      else for (const { name, profile } of profiles) assert.ok(explained(text, name, profile, sound), shown);
      if (run % 10 === 0) {
        assert.ok(Array.isArray(lintProfiles([{ file, text }])));
        const formatted = formatProfile(text, file);
        if (formatted.problems.length === 0)
          assert.deepEqual(formatProfile(formatted.text, file).text, formatted.text, shown);
      }
    }
    assert.ok(refused > RUNS / 4, `${refused} of ${RUNS} were refused`);
    assert.ok(slowest < 2000, `the slowest took ${slowest} ms`);
  },
);

/** The dimensions that each key of a document can loosen. Keys that are not listed can loosen anything. */
const REACH: Readonly<Record<string, readonly (keyof Profile)[]>> = {
  files: ['files'],
  network: ['egress', 'ingress'],
  syscalls: ['syscalls'],
  capabilities: ['capabilities', 'ambient', 'syscalls'],
  devices: ['devices'],
  mounts: ['mounts'],
  paths: ['paths'],
  namespaces: ['ownNamespaces'],
  resources: ['limits', 'resources'],
  $schema: [],
};

type Sections = Readonly<Record<string, unknown>>;

function sectionsOf(text: string): Map<string, Sections> {
  const values = parseDocuments(text, 'mutant.yaml').documents.map(
    ({ value }) => value as Sections & { metadata?: { name: string } },
  );
  return new Map(
    values.flatMap((value) => (value.metadata === undefined ? [] : [[value.metadata.name, value]])),
  );
}

/**
 * Asserts that an accepted mutant grants more only if a key for that dimension changed: no damage is silently
 * ignored.
 */
function explained(
  text: string,
  name: string,
  profile: Profile,
  sound: ReadonlyMap<string, Profile>,
): boolean {
  const was = sound.get(name);
  if (was === undefined) return true;
  const [before, after] = [sectionsOf(WHOLE), sectionsOf(text)];
  const changed = [...before].flatMap(([document, sections]) =>
    [...new Set([...Object.keys(sections), ...Object.keys(after.get(document) ?? {})])].filter(
      (key) => !isDeepStrictEqual(sections[key], after.get(document)?.[key]),
    ),
  );
  if (changed.length === 0) assert.deepEqual(profile, was);
  const looser = witnesses(was, profile).map(({ dimension }) => dimension);
  return looser.every((dimension) => changed.some((key) => REACH[key]?.includes(dimension) ?? true));
}

it('an unknown word is refused at every position', () => {
  const closed =
    /\b(?:apiVersion|kind|metadata|name|parameters|type|default|port|path|entitlements|network\.user|security\.confined|resources\.pids|files|read|write|execute|deny|network|egress|to|except|ports|ingress|extends|profile|with|base|syscalls|drop|chmod|ioctl|arg[01]|TIOCSTI|add|socket|AF_VSOCK|capabilities|ALL|KILL|ambient|devices|mounts|target|readonly|paths|masked|namespaces|own|user|memory|nofile|soft|hard|core|tcp)\b/g;
  let words = 0;
  for (const { 0: word, index } of WHOLE.matchAll(closed)) {
    // The author chooses the names of profiles and parameters, and the text of comments.
    const line = WHOLE.slice(WHOLE.lastIndexOf('\n', index) + 1, WHOLE.indexOf('\n', index));
    if (line.startsWith('#') || /metadata: \{ name: (base|top)/.test(line)) continue;
    words += 1;
    const at = index + (words % word.length);
    const text = `${WHOLE.slice(0, at)}q${WHOLE.slice(at + 1)}`;
    const { profiles, problems } = checkProfiles([{ file: 'f', text }]);
    // A document of another kind is skipped. The profile is then missing, not looser.
    if (word === 'kind') assert.ok(profiles.length < 2);
    else assert.ok(problems.length > 0, `${word} in: ${line}`);
  }
  assert.ok(words > 60, `${words} words`);
});
