import { PortcullisError } from '../../base/errors/index.ts';
import type { Init } from '../../base/protobuf/index.ts';
import type { AuthConfig, Image } from '../cri/contract/contract.types.ts';
import type { ImageRecord, PullCredentials, StoredForms } from '../images/types.ts';

/** cri-api Image. A numeric USER of the image is its uid; any other USER is its username. */
export function imageMessage(record: ImageRecord): Init<Image> {
  const user = record.config.user.split(':')[0] ?? '';
  const uid = /^\d+$/.test(user) ? Number(user) : undefined;
  return {
    id: record.id,
    repoTags: record.repoTags,
    repoDigests: record.repoDigests,
    size: record.size,
    ...(uid === undefined ? { username: user } : { uid: { value: uid } }),
    spec: {
      image: record.repoTags[0] ?? record.repoDigests[0] ?? record.id,
      annotations: record.unverified ? { 'portcullis.dev/unverified': 'true' } : {},
    },
    pinned: record.pinned,
  };
}

/** Returns what `crictl inspecti` shows below the status: configuration and the decision. */
export function imageInfo(record: ImageRecord, stored: StoredForms): Record<string, string> {
  const { config, manifestDigest, digest, verdictId, unverified, dossier } = record;
  return {
    info: JSON.stringify({
      imageSpec: {
        architecture: config.architecture,
        os: config.os,
        created: config.created,
        config: {
          User: config.user,
          Env: config.env,
          Entrypoint: config.entrypoint,
          Cmd: config.cmd,
          WorkingDir: config.workingDir,
          Labels: config.labels,
          StopSignal: config.stopSignal,
        },
      },
      manifestDigest,
      digest,
      layers: record.layers,
      stored,
      ...(config.artifactType !== undefined && { artifactType: config.artifactType }),
      verdictId,
      unverified,
      dossierId: dossier.id,
      evidence: dossier.items.map(({ kind, attachedTo, foundBy, manifestDigest: manifest }) => ({
        kind,
        attachedTo,
        foundBy,
        manifest,
      })),
    }),
  };
}

/**
 * Returns the credentials of one pull. `auth` is base64 of `user:password`, which the fields override
 * (cri-api AuthConfig).
 * @throws PortcullisError RUNTIME_BAD_AUTH, without the value
 */
export function pullCredentials(auth: AuthConfig | undefined): PullCredentials | undefined {
  if (auth === undefined) return undefined;
  let { username, password } = auth;
  if (username === '' && auth.auth !== '') {
    const plain = Buffer.from(auth.auth, 'base64').toString('utf8');
    const split = plain.indexOf(':');
    if (split < 1) {
      throw new PortcullisError({
        code: 'RUNTIME_BAD_AUTH',
        kind: 'invalid',
        attempted: 'read pull credentials',
        on: 'auth',
        why: 'it is not base64 of "user:password"',
        fix: 'correct the credentials',
      });
    }
    [username, password] = [plain.slice(0, split), withoutPadding(plain.slice(split + 1))];
  }
  const given = {
    ...(username !== '' && { username }),
    ...(password !== '' && { password }),
    ...(auth.identityToken !== '' && { identityToken: auth.identityToken }),
    ...(auth.registryToken !== '' && { registryToken: auth.registryToken }),
    ...(auth.serverAddress !== '' && { serverAddress: auth.serverAddress }),
  };
  return Object.keys(given).length === 0 ? undefined : given;
}

/**
 * Some tools pad the password with NULs. A regular expression for the end of a text would be tried at each
 * NUL, so this code uses none.
 */
function withoutPadding(text: string): string {
  let end = text.length;
  while (end > 0 && text.charCodeAt(end - 1) === 0) end -= 1;
  return text.slice(0, end);
}
