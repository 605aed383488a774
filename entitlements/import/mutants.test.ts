import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { parseDocuments } from '../../base/schema/index.ts';
import { contains } from '../compare/contains.ts';
import { exportProfile } from '../export/export.ts';
import { builtinProfile, defaultProfile } from '../profile/builtin.ts';
import type { Profile } from '../profile/model.ts';
import { seeded } from '../proof/fixtures/seeded.ts';
import { importFrom } from './read-source.ts';
import type { ImportSource } from './read-source.ts';

/** The number per importer and type of damage. IMPORT_MUTANTS=10000 sets the long form. */
const RUNS = Number(process.env['IMPORT_MUTANTS'] ?? 40);
const LONGEST_MS = 2000;

const fixtures = join(import.meta.dirname, 'fixtures');
const folder = mkdtempSync(join(tmpdir(), 'import-mutants-'));
after(() => rmSync(folder, { recursive: true }));
const options = {
  target: { architecture: 'x86_64', capabilities: defaultProfile().capabilities },
  profile: builtinProfile,
} as const;
type Random = ReturnType<typeof seeded>;

const MANIFEST = `apiVersion: apps/v1
kind: Deployment
metadata: { name: web, annotations: {} }
spec:
  template:
    metadata: { annotations: { portcullis.dev/profile: baseline } }
    spec:
      hostUsers: false
      securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: RuntimeDefault } }
      volumes: [{ name: data, emptyDir: {} }]
      containers:
        - name: web
          image: web
          volumeMounts: [{ name: data, mountPath: /data }]
          resources: { limits: { cpu: 500m, memory: 64Mi } }
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            appArmorProfile: { type: RuntimeDefault }
            capabilities: { drop: [ALL], add: [NET_BIND_SERVICE, CHOWN] }
`;
const APPARMOR = `profile web flags=(attach_disconnected) {
  network inet stream,
  network inet6 dgram,
  network unix,
  capability chown, capability kill,
  /app/** r,
  /app/bin/* rix,
  /var/lib/app/** rw,
  mount fstype=tmpfs -> /mnt/a/,
  deny /app/secret/** rw,
  deny network netlink,
}
`;

interface Source {
  readonly from: ImportSource;
  readonly text: string;
  /** Writes the text to the place where the importer reads it. */
  readonly place: (text: string) => string;
}

function inFile(name: string): (text: string) => string {
  return (text) => {
    const file = join(folder, name);
    writeFileSync(file, text);
    return file;
  };
}

/** Creates an image layout whose only layer is the text, with correct digests. */
function inLayout(name: string, profile: Profile): Source {
  const layout = join(folder, name);
  for (const file of exportProfile('oci-artifact', 'it', profile, options.target).files) {
    const path = join(layout, file.name);
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(path, file.text);
  }
  const blob = (text: string): { readonly digest: string; readonly size: number } => {
    const hex = createHash('sha256').update(text).digest('hex');
    writeFileSync(join(layout, 'blobs/sha256', hex), text);
    return { digest: `sha256:${hex}`, size: Buffer.byteLength(text) };
  };
  const index = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')) as {
    manifests: { digest: string }[];
  };
  const read = (digest = ''): string => readFileSync(join(layout, 'blobs/sha256', digest.slice(7)), 'utf8');
  const manifest = JSON.parse(read(index.manifests[0]?.digest)) as { layers: { digest: string }[] };
  return {
    from: 'oci-artifact',
    text: read(manifest.layers[0]?.digest),
    place: (text) => {
      const changed = { ...manifest, layers: [{ ...manifest.layers[0], ...blob(text) }] };
      writeFileSync(
        join(layout, 'index.json'),
        JSON.stringify({
          ...index,
          manifests: [{ ...index.manifests[0], ...blob(JSON.stringify(changed)) }],
        }),
      );
      return layout;
    },
  };
}

const fixture = (name: string): string => readFileSync(join(fixtures, name), 'utf8');
const sources: Readonly<Record<string, Source>> = {
  docker: { from: 'seccomp', text: fixture('docker-default.json'), place: inFile('d.json') },
  containerd: { from: 'seccomp', text: fixture('containerd-default.json'), place: inFile('c.json') },
  'CRI-O': { from: 'seccomp', text: fixture('crio-default.json'), place: inFile('o.json') },
  'security context': { from: 'security-context', text: MANIFEST, place: inFile('m.yaml') },
  'SeccompProfile of the operator': {
    from: 'spo',
    text: fixture('spo-seccompprofile.yaml'),
    place: inFile('s.yaml'),
  },
  'AppArmorProfile of the operator': {
    from: 'spo',
    text: fixture('spo-apparmorprofile-sleep-crun.yaml'),
    place: inFile('a.yaml'),
  },
  'artifact of KEP-6061': inLayout('artifact', defaultProfile()),
  'AppArmor text': { from: 'apparmor', text: APPARMOR, place: inFile('a.aa') },
};

/** Returns the import, or its refusal. Nothing else may happen, and it must not take long. */
async function read(
  { from, place }: Source,
  text: string,
): Promise<ReadonlyMap<string, Profile> | undefined> {
  // CPU time of this process: on a busy machine, a long wall time is not a hang.
  const begun = process.cpuUsage();
  const spent = (): number => {
    const { user, system } = process.cpuUsage(begun);
    return (user + system) / 1000;
  };
  try {
    return new Map(
      (await importFrom(from, place(text), options)).map(({ name, profile }) => [name, profile]),
    );
  } catch (error) {
    assert.ok(isPortcullisError(error), `${String(error)} of ${JSON.stringify(text)}`);
    const { on, why, fix } = error.failure;
    assert.ok(
      on !== '' && why !== '' && fix !== '',
      `${String(error)} says no place or reason: ${JSON.stringify(text)}`,
    );
    return undefined;
  } finally {
    assert.ok(spent() < LONGEST_MS, `it took ${spent()} ms: ${JSON.stringify(text)}`);
  }
}

const SCRAPS = [
  '{',
  '}',
  '[',
  ']',
  ',',
  '"',
  "'",
  '\0',
  '\u{1f600}',
  '-1',
  '1e400',
  '99999999999999999999',
  'null',
  'true',
  '**',
  '{{{{',
  '\\',
  '\n',
  '  ',
  '&a ',
  '*a',
  '#',
  '@{x}',
];

function damaged(text: string, random: Random): string {
  let result = text;
  for (let times = 1 + random.below(3); times > 0; times -= 1) {
    const at = random.below(result.length + 1);
    const length = random.below(20);
    const from = random.below(result.length + 1);
    const middle = random.pick([
      '',
      random.pick(SCRAPS) + result.slice(at, at + length),
      String.fromCharCode(32 + random.below(95)),
      result.slice(from, from + length) + result.slice(at, at + length),
    ]);
    result = result.slice(0, at) + middle + result.slice(at + length);
  }
  return result;
}

/**
 * Inserts a random letter into a word of the format: if the reader skipped the word, a restriction would be
 * lost.
 */
function misspelt(text: string, random: Random): string {
  const words = [
    ...text.matchAll(/(?<=^|[\s{,"])([A-Za-z]{3,})(?="?:)|(?<=^\s*)(?:deny|network|capability|mount)\b/gm),
  ];
  const word = random.pick(words);
  const at = word.index + random.below(word[0].length);
  return `${text.slice(0, at)}q${text.slice(at)}`;
}

type Json = { [key: string]: unknown };
type Tightening = (text: string, random: Random) => string;

/** Removes a grant, or adds a condition or denial. */
const tightened: Readonly<Record<string, Tightening>> = {
  seccomp: (text, random) => {
    const json = JSON.parse(text) as Json & {
      syscalls: (Json & { names: string[]; action: string; args?: Json[] | null })[];
    };
    const allowed = json.syscalls.filter(({ action }) => action === 'SCMP_ACT_ALLOW');
    const rule = random.pick(allowed);
    switch (random.below(4)) {
      case 0:
        json.syscalls.splice(json.syscalls.indexOf(rule), 1);
        break;
      case 1:
        if (rule.names.length > 1) rule.names.splice(random.below(rule.names.length), 1);
        break;
      case 2:
        rule.args = [
          ...(rule.args ?? []),
          {
            index: 5,
            value: random.below(1000),
            op: random.pick(['SCMP_CMP_EQ', 'SCMP_CMP_LT', 'SCMP_CMP_GE']),
          },
        ];
        break;
      default:
        json['defaultAction'] = 'SCMP_ACT_KILL_PROCESS';
        delete json['defaultErrnoRet'];
        delete json['defaultErrno'];
    }
    return JSON.stringify(json);
  },
  'security-context': (text, random) =>
    random.pick<Tightening>([
      (it) => it.replace('NET_BIND_SERVICE, ', ''),
      (it) => it.replace(', CHOWN', ''),
      (it) => it.replace('drop: [ALL]', 'drop: [ALL, CHOWN, KILL]'),
      (it) => it.replace('cpu: 500m', 'cpu: 400m'),
      (it) => it.replace('memory: 64Mi', 'memory: 60Mi'),
      (it) => it.replace('profile: baseline', 'profile: restricted'),
    ])(text, random),
  apparmor: (text, random) => {
    const lines = text.split('\n');
    const at = 1 + random.below(8);
    const denials = [
      'deny network,',
      'deny network inet,',
      'deny network inet6 dgram,',
      'deny network stream,',
      'deny network unix,',
      'deny capability chown,',
      'deny capability,',
      'deny mount,',
      'deny mount options=rw,',
      'deny umount,',
      'deny remount,',
      'deny userns,',
      'deny mqueue type=posix,',
      'deny signal (send),',
      'set rlimit nofile <= 64,',
      'deny file,',
      'deny /** w,',
      'deny /app/bin/* x,',
      'deny @{HOME}/** rwklx,',
      'audit deny owner /app/** r,',
    ];
    if (random.below(3) === 0) lines.splice(at, 1);
    else if (random.below(2) === 0) lines.splice(1 + random.below(10), 0, random.pick(denials));
    else if (!(lines[at] ?? '').includes('capability')) lines[at] = `  deny ${(lines[at] ?? '').trim()}`;
    return lines.join('\n');
  },
};

describe('documents of other tools, damaged', () => {
  for (const [name, source] of Object.entries(sources)) {
    it(
      `${name}: each of ${RUNS} mutants is refused with a position and a reason, or read, in bounded time`,
      { timeout: 900_000 },
      async () => {
        const random = seeded(20261120);
        for (let run = 0; run < RUNS; run += 1) await read(source, damaged(source.text, random));
      },
    );

    it(`${name}: a misspelled word is refused, or grants no more`, { timeout: 900_000 }, async () => {
      const random = seeded(7);
      const sound = await read(source, source.text);
      assert.ok(sound);
      let refused = 0;
      for (let run = 0; run < RUNS; run += 1) {
        const text = misspelt(source.text, random);
        const found = await read(source, text);
        if (found === undefined) refused += 1;
        else assertWithin(sound, found, text);
      }
      assert.ok(refused > RUNS / 4, `${refused} of ${RUNS}`);
    });

    const tighten = tightened[source.from];
    if (tighten === undefined) continue;
    it(
      `${name}: with one grant removed or one denial added, it grants no more`,
      { timeout: 900_000 },
      async () => {
        const random = seeded(11);
        const sound = await read(source, source.text);
        assert.ok(sound);
        for (let run = 0; run < RUNS; run += 1) {
          const text = tighten(source.text, random);
          const found = await read(source, text);
          if (found !== undefined) assertWithin(sound, found, text);
        }
      },
    );
  }

  it('an unknown level of the Pod Security Standards is refused by its name', async () => {
    const random = seeded(3);
    for (let run = 0; run < RUNS; run += 1) {
      const name = damaged(random.pick(['privileged', 'baseline', 'restricted']), random);
      if (['privileged', 'baseline', 'restricted'].includes(name)) continue;
      await assert.rejects(importFrom('pod-security', name, options), { code: 'ENTITLEMENTS_BAD_PROFILE' });
    }
  });
});

/**
 * Asserts that each profile is within the one of the same name. A profile with another name has no
 * counterpart.
 */
function assertWithin(
  outers: ReadonlyMap<string, Profile>,
  inners: ReadonlyMap<string, Profile>,
  text: string,
): void {
  for (const [name, inner] of inners) {
    const outer = outers.get(name);
    const answer = outer === undefined ? ({ yes: true } as const) : contains(outer, inner);
    assert.ok(
      answer.yes,
      answer.yes ? '' : `${name}: ${answer.witness.sentence}: ${text.length < 3000 ? text : text.length}`,
    );
  }
}

describe('a value that JavaScript converts to no text', () => {
  const NO_TEXT = { toString: 1, valueOf: 1 };

  /** Yields the value with each part of it replaced; of long lists, only the first members. */
  function* replaced(value: unknown): Generator {
    yield NO_TEXT;
    if (Array.isArray(value))
      for (const [at, part] of value.slice(0, 3).entries())
        for (const changed of replaced(part)) yield value.with(at, changed);
    else if (typeof value === 'object' && value !== null)
      for (const [name, part] of Object.entries(value))
        for (const changed of replaced(part)) yield { ...value, [name]: changed };
  }

  for (const name of ['containerd', 'security context', 'SeccompProfile of the operator'])
    it(`is read or refused with a code, wherever it is: ${name}`, async () => {
      const source = sources[name] as Source;
      const { documents } = parseDocuments(source.text, name);
      for (const changed of replaced({ flags: [''], ...(documents[0]?.value as object) }))
        await read(source, JSON.stringify(changed));
    });
});
