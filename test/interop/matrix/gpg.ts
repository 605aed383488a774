import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findTool } from '../../fixtures/tools.ts';
import { flip } from './artifacts.ts';
import type { Cell, OpenTool } from './cells.ts';
import type { Published } from './ground.ts';

const run = promisify(execFile);
const day = 86_400_000;
const people = ['builder', 'stranger', 'revoked', 'expired'] as const;
type Person = (typeof people)[number];

const at = (home: string) => ({ env: { ...process.env, GNUPGHOME: home } });
const quiet = [
  '--batch',
  '--quiet',
  '--passphrase',
  '',
  '--pinentry-mode',
  'loopback',
  '--trust-model',
  'always',
];
const gpg = (home: string, ...args: readonly string[]): Promise<unknown> =>
  run('gpg', [...quiet, ...args], at(home));
const past = (days: number): string[] => [
  '--faked-system-time',
  new Date(Date.now() - days * day).toISOString().replace(/[-:]|\.\d+Z/g, ''),
];
const stop = (home: string): Promise<unknown> =>
  run('gpgconf', ['--kill', 'all'], at(home)).catch(() => undefined);

interface Keys {
  /** The keyring of those who sign. */
  readonly signers: string;
  /** The keyring of those who verify: it knows which key is revoked, and which has expired. */
  readonly verifiers: string;
  fingerprint(person: Person): string;
}

/** Creates a key of each person, and exports it into the folder. */
async function createKeys(folder: string): Promise<Keys> {
  // These folders contain sockets, whose paths must be short. Signers use the first one, verifiers use the
  // keys in the second one.
  const [signers, verifiers] = [
    mkdtempSync(join(tmpdir(), 'pc-gpg-')),
    mkdtempSync(join(tmpdir(), 'pc-gpg-')),
  ];
  const fingerprints: Partial<Record<Person, string>> = {};
  const fingerprint = (person: Person): string => fingerprints[person] ?? '';
  for (const person of people) {
    await gpg(
      signers,
      ...past(3),
      '--quick-generate-key',
      `${person} <${person}@example.com>`,
      'ed25519',
      'default',
      'never',
    );
    const { stdout } = await run(
      'gpg',
      ['--batch', '--list-keys', '--with-colons', `${person}@example.com`],
      at(signers),
    );
    fingerprints[person] = /^fpr:*([0-9A-F]+):/m.exec(stdout)?.[1] ?? '';
  }
  await stop(signers);
  cpSync(signers, verifiers, { recursive: true, filter: (path) => !path.includes('/S.') });
  const revocation = readFileSync(
    join(verifiers, 'openpgp-revocs.d', `${fingerprint('revoked')}.rev`),
    'utf8',
  );
  writeFileSync(join(folder, 'revocation'), revocation.replace(/^:---/gm, '---'));
  await gpg(verifiers, '--import', join(folder, 'revocation'));
  await gpg(verifiers, ...past(2), '--quick-set-expire', fingerprint('expired'), '1d');
  for (const person of people)
    writeFileSync(
      join(folder, `${person}.gpg`),
      (
        await run('gpg', ['--batch', '--export', fingerprint(person)], {
          ...at(verifiers),
          encoding: 'buffer',
        })
      ).stdout,
    );
  return { signers, verifiers, fingerprint };
}

/**
 * GPG simple signing by skopeo. Signatures are in a lookaside store, so that the registry serves only the
 * image.
 */
export const openGpg: OpenTool = async (ground) => {
  const { host, folder } = ground;
  const skopeo = findTool('skopeo').path;
  const { signers, verifiers, fingerprint } = await createKeys(folder);
  const scratch = join(folder, 'scratch');
  mkdirSync(scratch, { recursive: true });
  let files = 0;
  const manifestOf = async (image: Published): Promise<string> => {
    const file = join(scratch, String((files += 1)));
    writeFileSync(file, (await image.repository.manifest(image.digest)).bytes);
    return file;
  };
  const sign = async (image: Published, person: Person, reference = image.reference): Promise<Buffer> => {
    const file = await manifestOf(image);
    await run(
      skopeo,
      ['standalone-sign', file, reference, fingerprint(person), '--output', `${file}.sig`],
      at(signers),
    );
    return readFileSync(`${file}.sig`);
  };
  const placeOf = ({ repository, digest }: Published): string =>
    join(folder, 'lookaside', `${repository.repository}@${digest.replace(':', '=')}`);
  const put = (image: Published, ...signatures: readonly Uint8Array[]): undefined => {
    mkdirSync(placeOf(image), { recursive: true });
    for (const [index, bytes] of signatures.entries())
      writeFileSync(join(placeOf(image), `signature-${index + 1}`), bytes);
  };
  const judge =
    (person: Person) =>
    async (image: Published): Promise<boolean> => {
      const signature = join(placeOf(image), 'signature-1');
      const args = [
        'standalone-verify',
        await manifestOf(image),
        image.reference,
        fingerprint(person),
        signature,
      ];
      return run(skopeo, args, at(verifiers)).then(
        () => true,
        () => false,
      );
    };
  const refused = (arrange: Cell['arrange'], ...codes: readonly string[]): Cell => ({
    outcome: 'deny',
    codes,
    arrange,
    judge: judge('builder'),
  });
  const spoiled = (person: Person, code: string): Cell => ({
    ...refused(async (image) => put(image, await sign(image, person)), code),
    folder: person,
    judge: judge(person),
  });
  const rule = (name: string, person: Person): string =>
    `  - images: ["${host}/gpg/${name}/**"]\n    require: { gpg: { keys: [${person}.gpg], lookaside: lookaside } }\n`;
  const good = refused(async (image) => put(image, await sign(image, 'builder')), 'TRUST_SIGNATURE_VALID');
  return {
    rows: [
      {
        name: 'GPG simple signing by skopeo',
        folder: 'gpg',
        rules: rule('in', 'builder') + rule('revoked', 'revoked') + rule('expired', 'expired'),
        cells: {
          good: { ...good, outcome: 'admit' },
          'other identity': refused(
            async (image) => put(image, await sign(image, 'stranger')),
            'TRUST_SIGNATURE_OTHER_KEY',
          ),
          'other digest': refused(async (image) => {
            const source = await ground.publish(
              'gpg/source',
              image.digest === image.index ? 'index' : 'manifest',
            );
            return put(image, await sign(source, 'builder', image.reference));
          }, 'TRUST_SIGNATURE_OTHER_DIGEST'),
          'other repository': refused(
            async (image) => put(image, await sign(image, 'builder', `${host}/gpg/in/elsewhere:1`)),
            'TRUST_IDENTITY_OTHER',
          ),
          expired: spoiled('expired', 'TRUST_KEY_EXPIRED'),
          revoked: spoiled('revoked', 'TRUST_KEY_REVOKED'),
          'missing log entry': 'simple signing does not support transparency logs',
          'flipped byte': refused(
            async (image) => {
              const signature = await sign(image, 'builder');
              return put(image, ...[0.3, 0.6, 0.95].map((place) => flip(signature, place)));
            },
            'TRUST_SIGNATURE_WRONG',
            'TRUST_SIGNATURE_MALFORMED',
          ),
        },
      },
    ],
    async close() {
      for (const home of [signers, verifiers]) {
        await stop(home);
        rmSync(home, { recursive: true, force: true });
      }
    },
  };
};
