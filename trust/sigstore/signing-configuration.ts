import { readFile } from 'node:fs/promises';
import { parseJson } from '../../base/json/index.ts';
import { PortcullisError, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { recordOf } from '../json/strict-json.ts';
import { fetchTarget } from '../tuf-client/fetch-target.ts';
import { folderStore } from '../tuf-client/folder-store.ts';
import { httpSource } from '../tuf-client/http-source.ts';
import type { TufStore } from '../tuf-client/source.ts';
import { updateMetadata } from '../tuf-client/update.ts';
import { isUnavailable } from '../tuf/failure.ts';
import {
  cachedSigningConfigFile,
  defaultRootCache,
  maximumRootBytes,
  metadataFolder,
  signingConfigTarget,
} from './root-cache.ts';
import { embeddedTrustedRoot, embeddedTufRoot, publicGoodTufUrl } from './seeds.ts';

export interface SigningConfigurationOptions {
  /** The TUF repository; default: sigstore's public good instance. */
  readonly url?: string;
  /**
   * The folder of trusted roots. It is read and never written, so that a signer needs no write permission.
   */
  readonly cache?: string;
  /** The repository's initial TUF root, when neither the cache nor this version has one. */
  readonly tufRoot?: Uint8Array;
  readonly now: Date;
}

const deadlineMs = 20_000;

/**
 * Returns the `signing_config.v0.2.json` of a TUF repository: the services that sign for its instance. It is
 * verified in the same way as the trusted root. When the repository is unreachable, the configuration that
 * `sigstore-root update` fetched last applies; without one, for the public good instance, the services that
 * the embedded trusted root names. A repository that serves unsigned or outdated files is refused, because a
 * signer sends an identity token to the services.
 * @throws PortcullisError `TRUST_SIGNING_CONFIG`
 */
export async function signingConfiguration(options: SigningConfigurationOptions): Promise<Buffer> {
  const url = (options.url ?? publicGoodTufUrl).replace(/\/+$/, '');
  const cache = options.cache ?? defaultRootCache;
  try {
    return await fetchConfiguration(url, cache, options);
  } catch (error) {
    if (isPortcullisError(error) && isUnavailable(error.code)) {
      const kept = await readFile(cachedSigningConfigFile(cache, url)).catch(() => undefined);
      if (kept !== undefined) return kept;
      if (url === publicGoodTufUrl) return servicesOfTrustedRoot(embeddedTrustedRoot());
    }
    throw new PortcullisError({
      code: 'TRUST_SIGNING_CONFIG',
      kind: isPortcullisError(error) && isUnavailable(error.code) ? 'unavailable' : 'invalid',
      attempted: 'fetch the signing configuration',
      on: url,
      why: reasonOf(error),
      fix: 'check the repository and the clock, or name a signing_config.json: --signing-config FILE',
      cause: error,
    });
  }
}

async function fetchConfiguration(
  url: string,
  cache: string,
  { tufRoot, now }: SigningConfigurationOptions,
): Promise<Buffer> {
  const first = tufRoot ?? (await embeddedTufRoot(url));
  const store = readingStore(folderStore(metadataFolder(cache, url)), first);
  const update = await updateMetadata({
    dialect: 'tuf',
    source: httpSource(url, { deadlineMs }),
    store,
    now,
  });
  const found = await update.find(signingConfigTarget);
  if (found === undefined) throw new Error(`the repository has no ${signingConfigTarget}`);
  if (found.length > maximumRootBytes)
    throw new Error(`its ${signingConfigTarget} is larger than ${maximumRootBytes} bytes`);
  return fetchTarget(`${url}/targets`, found, update.trusted.root.signed.consistentSnapshot);
}

/**
 * Returns a store that reads the files on disk, as far as they are readable, and keeps changes in memory
 * only.
 */
function readingStore(kept: TufStore, first: Uint8Array | undefined): TufStore {
  const changed = new Map<string, Buffer>();
  return {
    load: async (role) => {
      const bytes = changed.get(role) ?? (await kept.load(role).catch(() => undefined));
      return bytes ?? (role === 'root' && first !== undefined ? Buffer.from(first) : undefined);
    },
    save: (role, bytes) => {
      changed.set(role, bytes);
      return Promise.resolve();
    },
  };
}

/**
 * Returns a signing configuration of the services that a trusted root names: its authorities, logs and
 * timestamp authorities with an address. A trusted root does not state the API version of a log. Logs whose
 * host names a year speak version 2 (rekor-tiles), which is used when no other log is left.
 */
export function servicesOfTrustedRoot(bytes: Uint8Array): Buffer {
  const root = recordOf(parseJson(Buffer.from(bytes).toString('utf8'))) ?? {};
  const services = (
    list: string,
    address: string,
    validFor: (entry: Readonly<Record<string, unknown>>) => unknown,
  ) =>
    (Array.isArray(root[list]) ? (root[list] as readonly unknown[]) : []).flatMap((value) => {
      const entry = recordOf(value) ?? {};
      const url = entry[address];
      if (typeof url !== 'string' || url === '') return [];
      const majorApiVersion = list === 'tlogs' && /^https:\/\/log\d{4}-/.test(url) ? 2 : 1;
      return [
        {
          url,
          majorApiVersion,
          validFor: validFor(entry),
          operator: new URL(url).hostname.split('.').slice(-2).join('.'),
        },
      ];
    });
  const logs = services('tlogs', 'baseUrl', (entry) => recordOf(entry['publicKey'])?.['validFor']);
  const first = logs.filter(({ majorApiVersion }) => majorApiVersion === 1);
  const tsaUrls = services('timestampAuthorities', 'uri', ({ validFor }) => validFor);
  return Buffer.from(
    JSON.stringify({
      mediaType: 'application/vnd.dev.sigstore.signingconfig.v0.2+json',
      caUrls: services('certificateAuthorities', 'uri', ({ validFor }) => validFor),
      rekorTlogUrls: first.length === 0 ? logs : first,
      rekorTlogConfig: { selector: 'ANY' },
      tsaUrls,
      ...(tsaUrls.length === 0 ? {} : { tsaConfig: { selector: 'ANY' } }),
    }),
  );
}
