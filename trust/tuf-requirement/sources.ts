import { LRUCache } from 'lru-cache';
import { createRegistryClient, createServiceTokens } from '../../base/distribution/index.ts';
import type {
  Credentials,
  RegistryClient,
  RegistryClientOptions,
  ServiceQuestion,
  ServiceTokens,
} from '../../base/distribution/index.ts';
import { credentialsOf } from '../credentials/find-credentials.ts';
import type { HttpAccess } from '../tuf-client/http-source.ts';
import { openSource } from '../tuf-client/open-source.ts';
import type { FindRepositories, OpenSourceOptions } from '../tuf-client/open-source.ts';
import type { TufSource } from '../tuf-client/source.ts';

/** The question which source serves a metadata repository, and for which caller. */
export interface SourceQuestion {
  /** The address: `https://…`, `http://…` or `oci://…`. */
  readonly url: string;
  /** `HOST/PATH` of the image in question. */
  readonly image: string;
  /** The registry of the image, to which the credentials belong. */
  readonly registry: string;
  /** The credentials of the pull. Without them, the logins of the current user apply. */
  readonly credentials?: Credentials;
}

/**
 * Returns a function that opens metadata sources. Registries are reached as configured, and services that
 * require tokens receive them. Nothing is requested yet.
 */
export function openSources(
  registries: RegistryClientOptions = {},
): (question: SourceQuestion, options: OpenSourceOptions) => TufSource {
  let client: RegistryClient | undefined;
  let tokens: ServiceTokens | undefined;
  /** By address: logins of the current user, found when the address required authentication. */
  const logins = new LRUCache<string, { readonly own?: Credentials; readonly pull?: Credentials }>({
    max: 1000,
  });

  const repositoriesOf =
    ({ registry, credentials }: SourceQuestion): FindRepositories =>
    async (reference) => {
      client ??= createRegistryClient(registries);
      const given = reference.registry === registry ? credentials : undefined;
      return client.repositories(
        reference,
        given ?? (client.asksOrigin(reference) ? await credentialsOf(process.env)(reference) : undefined),
      );
    };

  const accessOf = ({ url, image, registry, credentials }: SourceQuestion): HttpAccess => {
    const opened = (tokens ??= createServiceTokens(registries));
    const service = new URL(url);
    const question = (): ServiceQuestion => {
      const { own, pull } = logins.get(url) ?? {};
      const given = credentials ?? pull;
      return {
        service,
        repository: image,
        ...(given === undefined ? {} : { pull: { registry, credentials: given } }),
        ...(own === undefined ? {} : { login: own }),
      };
    };
    return {
      known: () => opened.known(question()),
      async answer(refused, used) {
        // Read again each time, so that a new login takes effect.
        const find = credentialsOf(process.env);
        const own = await find({ registry: service.host, repository: '' });
        const pull = await find({ registry, repository: image.slice(registry.length + 1) });
        logins.set(url, { ...(own === undefined ? {} : { own }), ...(pull === undefined ? {} : { pull }) });
        return opened.answer(question(), refused, used);
      },
    };
  };

  return (question, options) =>
    openSource(question.url, {
      ...options,
      repositories: repositoriesOf(question),
      ...(/^https?:\/\//u.test(question.url) ? { access: accessOf(question) } : {}),
    });
}
