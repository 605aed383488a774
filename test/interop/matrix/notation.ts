import { createPrivateKey, createPublicKey } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { policyKey } from '../../../trust/keys/public-key.ts';
import { chainOf, rootExtensions, signerExtensions } from '../../../trust/notation/fixtures/authority.ts';
import type { Issued } from '../../../trust/notation/fixtures/authority.ts';
import { makeNotationSignature } from '../../../trust/notation/sign.ts';
import { signImage } from '../../../trust/signing/sign-image.ts';
import { keySigner } from '../../../trust/signers/signer.ts';
import type { Signer } from '../../../trust/signers/signer.ts';
import { attachEnvelope, openNotation as openNotationGround, serveFiles } from '../../fixtures/notation.ts';
import { carryReferrers, flip } from './artifacts.ts';
import type { Cell, OpenTool, Row } from './cells.ts';
import type { Published } from './ground.ts';

const minute = 60_000;
const identity = 'x509.subject: C=US, ST=WA, O=example.com, CN=builder';
const noJudge = 'the policy of notation does not name such a repository either';

/** Both envelopes of the Notary Project, with a chain of three certificates and revocation lists. */
export const openNotation: OpenTool = async (ground) => {
  const { host } = ground;
  const theirs = openNotationGround();
  const files = new Map<string, Uint8Array>();
  const lists = await serveFiles(files);
  const { authority } = theirs;
  const root = authority.issue('root', { extensions: rootExtensions });
  const listed = (name: string): string => `crlDistributionPoints=URI:${lists.url}/${name}.crl`;
  const middle = authority.issue('middle', { extensions: [...rootExtensions, listed('root')], by: root });
  const issue = (name: string, person: string): Issued =>
    authority.issue(name, {
      subject: `/C=US/ST=WA/O=example.com/CN=${person}`,
      extensions: [...signerExtensions, listed('middle')],
      by: middle,
    });
  const [good, other, revoked] = [
    issue('good', 'builder'),
    issue('other', 'somebody else'),
    issue('revoked', 'builder'),
  ];
  for (const leaf of [good, other, revoked]) theirs.addKey(leaf.name, leaf, middle, root);
  authority.revoke(middle, revoked);
  files.set('/root.crl', authority.list(root));
  files.set('/middle.crl', authority.list(middle));
  theirs.trust('ca', 'example', root);
  writeFileSync(join(ground.folder, 'root.crt'), readFileSync(root.certificate));

  // Policies of notation name each repository.
  const folders = ['notation-jws', 'notation-cose'];
  const scopes = folders.flatMap((folder) =>
    Array.from({ length: 200 }, (_, index) => `${host}/${folder}/in/${index}`),
  );
  const statement = { name: 'example', registryScopes: scopes, signatureVerification: { level: 'strict' } };
  theirs.writePolicy({
    version: '1.0',
    trustPolicies: [{ ...statement, trustStores: ['ca:example'], trustedIdentities: [identity] }],
  });

  const judge = async ({ target }: Published): Promise<boolean> =>
    (await theirs.notation('verify', '--insecure-registry', target)).code === 0;
  const rowOf = (format: 'jws' | 'cose'): Row => {
    const folder = `notation-${format}`;
    const sign = async ({ target }: Published, by: string): Promise<undefined> => {
      const { code, output } = await theirs.notation(
        'sign',
        '--insecure-registry',
        '--signature-format',
        format,
        '--key',
        by,
        target,
      );
      if (code !== 0) throw new Error(output);
      return undefined;
    };
    const refused = (arrange: Cell['arrange'], ...codes: readonly string[]): Cell => ({
      outcome: 'deny',
      codes,
      arrange,
      judge,
    });
    return {
      name: `notation ${format.toUpperCase()}`,
      folder,
      rules: `  - images: ["${host}/${folder}/in/**"]\n    require: { notation: { truststore: ca/example, folder: ${theirs.truststore}, identities: ["${identity}"] } }\n`,
      cells: {
        good: { ...refused((image) => sign(image, 'good'), 'TRUST_SIGNATURE_VALID'), outcome: 'admit' },
        'other identity': refused((image) => sign(image, 'other'), 'TRUST_NOTATION_AUTHENTICITY'),
        'other digest': refused(async (image) => {
          const source = await ground.publish(
            `${folder}/source`,
            image.digest === image.index ? 'index' : 'manifest',
          );
          await sign(source, 'good');
          await carryReferrers(source, image);
          return undefined;
        }, 'TRUST_SIGNATURE_OTHER_DIGEST'),
        'other repository': {
          ...refused(async (image) => {
            await sign(image, 'good');
            const copy = await ground.copy(image, image.repository.repository.replace('/in/', '/out/'));
            await carryReferrers(image, copy);
            return copy;
          }, 'TRUST_NO_RULE'),
          judge: noJudge,
        },
        expired: refused(async (image) => {
          const { mediaType, size } = await image.repository.resolve(image.digest);
          const target = { mediaType, digest: image.digest, size, annotations: {} };
          const past = (minutes: number): Date => new Date(Date.now() - minutes * minute);
          const made = await makeNotationSignature({
            format,
            target,
            signer: signerOf(good),
            now: past(10),
            expiry: past(5),
          });
          await attachEnvelope(image.repository, image.digest, {
            mediaType: made.mediaType,
            bytes: made.envelope,
          });
          return undefined;
        }, 'TRUST_NOTATION_EXPIRY'),
        revoked: refused((image) => sign(image, 'revoked'), 'TRUST_NOTATION_REVOCATION'),
        'missing log entry': 'the Notary Project does not support transparency logs',
        'flipped byte': refused(
          async (image) => {
            await sign(image, 'good');
            const copy = await ground.copy(image, image.repository.repository.replace('/in/', '/in/1'));
            for (const at of [0.15, 0.5, 0.99])
              await carryReferrers(image, copy, (one) => ({ ...one, bytes: flip(one.bytes, at) }));
            return copy;
          },
          'TRUST_SIGNATURE_MALFORMED',
          'TRUST_SIGNATURE_WRONG',
          'TRUST_NOTATION_INTEGRITY',
        ),
      },
      ours: {
        async arrange({ repository, digest }) {
          await signImage({
            repository,
            digest,
            key: signerOf(good),
            format: `notation-${format}`,
            now: new Date(),
          });
          return undefined;
        },
        judge,
      },
    };
  };
  const signerOf = (leaf: Issued): Signer => {
    const key = createPrivateKey(readFileSync(leaf.key));
    const half = policyKey(leaf.name, createPublicKey(key));
    if ('problem' in half) throw new Error(half.problem);
    return keySigner({ public: half, private: key }, { certificates: chainOf(leaf, middle, root) });
  };
  return {
    rows: [rowOf('jws'), rowOf('cose')],
    async close() {
      await lists.close();
      theirs.close();
    },
  };
};
